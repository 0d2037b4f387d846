package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"longlora/internal/errs"
)

// The longest JSON documents that are read: an index of a hundred thousand tensors is shorter, and so by far is every
// document that is kept whole, whose smallest values take many times their own length of memory.
const maxJSON, maxOpenJSON = 32 << 20, 4 << 20

// Kept is a name as a JSON document can hold it: a byte that is no UTF-8, of a name in another encoding, would come
// back as another one, so it stands there as \xE9.
func Kept(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02X`, name[i])
		} else {
			b.WriteString(name[i : i+n])
		}
		i += n
	}
	return b.String()
}

// ReadJSON reads a JSON document; numbers of maps stay as they are written.
func ReadJSON(path string, v any) error {
	f, err := Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return errs.Dataf("%s: there is no such file; is %s the right folder?", path, filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	defer f.Close()
	limit := int64(maxJSON)
	if _, open := v.(*map[string]any); open {
		limit = maxOpenJSON
	}
	if st, err := f.Stat(); err != nil {
		return Fault(path, err)
	} else if st.Size() > limit {
		return errs.Dataf("%s: %d bytes are more than such a file has", path, st.Size())
	}
	return decode(path, f, limit, v)
}

// ReadSealed is ReadJSON for a document that this program seals when it writes it. One that is sealed and not as it was
// written is refused; one without a seal, of an earlier version or written by hand, is read.
func ReadSealed(path string, v any) error {
	const most = 256 << 20 // longer than the record of a run over a million files
	b, err := Read(path, most)
	if err != nil {
		return err
	}
	if sealed, whole := Sealed(b); sealed && !whole {
		return errs.Dataf("%s: it is not as it was written: damaged, or changed by hand", path)
	}
	return decode(path, bytes.NewReader(b), most, v)
}

// decode reads at most so many bytes: a file may grow while it is read.
func decode(path string, r io.ReadSeeker, most int64, v any) error {
	br := bufio.NewReader(io.LimitReader(r, most))
	head, _ := br.Peek(2)
	dec := json.NewDecoder(br)
	dec.UseNumber()
	var kind *json.UnmarshalTypeError
	switch err := dec.Decode(v); {
	case errors.As(err, &kind) && kind.Field == "":
		return errs.Dataf("%s: %.100s where an object is wanted", path, kind.Value)
	case errors.As(err, &kind):
		return errs.Dataf("%s: %.100s: %.100s where something else is wanted", path, kind.Field, kind.Value)
	case err != nil:
		return NotJSON(path, head, where(r, err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return errs.Dataf("%s: something stands after the end of its JSON document", path)
	}
	return nil
}

// where adds to a fault of the text the line that it is in, and what of that line leads to it.
func where(r io.ReadSeeker, err error) error {
	const near = 60
	var fault *json.SyntaxError
	if !errors.As(err, &fault) || fault.Offset == 0 {
		return err
	}
	if _, e := r.Seek(0, io.SeekStart); e != nil {
		return err
	}
	text, e := io.ReadAll(io.LimitReader(r, fault.Offset))
	if e != nil {
		return err
	}
	n := bytes.Count(text, []byte("\n")) + 1
	text = bytes.TrimSpace(text[bytes.LastIndexByte(text, '\n')+1:])
	return fmt.Errorf("line %d, after %#q: %w", n, text[max(0, len(text)-near):max(0, len(text)-1)], err)
}

// NotJSON says of a document that begins with head why it is not read, which err says to who knows the parser.
func NotJSON(path string, head []byte, err error) error {
	switch {
	case len(head) == 0:
		return errs.Dataf("%s: the file is empty; fetch or write it again", path)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return errs.Dataf("%s: the text is UTF-16, which is not read here; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
			path)
	case bytes.HasPrefix(head, []byte("\xef\xbb")):
		return errs.Dataf("%s: it begins with a byte order mark, which JSON does not have and transformers does not read; "+
			"save it as UTF-8 without one", path)
	case errors.Is(err, io.ErrUnexpectedEOF), err.Error() == "unexpected end of JSON input":
		return errs.Dataf("%s: it ends inside its JSON document, and is cut short; fetch or write it again", path)
	}
	return errs.Dataf("%s: not the JSON that is wanted: %w", path, err)
}
