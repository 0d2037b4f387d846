package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"longlora/internal/tokenizer"
)

// maxRecord is the longest line or JSON object that is read.
var maxRecord = 1 << 30

// errTooLong is the fault of a record that passes maxRecord.
var errTooLong = errors.New("longer than 1 GiB; divide it into several documents")

// lineReader gives the lines of a JSONL file that are not blank.
type lineReader struct {
	r *bufio.Reader
	n int // lines read
}

func newLineReader(r io.Reader) *lineReader {
	br := bufio.NewReaderSize(r, 1<<20)
	skipMark(br)
	return &lineReader{r: br}
}

// skipMark drops a byte order mark, which some editors put before JSON.
func skipMark(r *bufio.Reader) {
	if b, err := r.Peek(3); err == nil && string(b) == "\xef\xbb\xbf" {
		_, _ = r.Discard(3) // it was peeked
	}
}

// next appends the next line to dst. bad is what is wrong with it, err why reading ends: io.EOF at the file's end.
func (l *lineReader) next(dst []byte) (out []byte, line int, bad, err error) {
	for {
		l.n++
		out, bad = dst, nil
		for {
			part, e := l.r.ReadSlice('\n')
			if bad == nil {
				out = append(out, part...)
			}
			if len(out)-len(dst) > maxRecord+1 { // its newline does not count
				out, bad = dst, errTooLong
			}
			if e == nil {
				break
			}
			if e == io.EOF {
				if bad == nil && len(bytes.TrimSpace(out[len(dst):])) == 0 {
					return dst, l.n, nil, io.EOF
				}
				break // the next call finds the end
			}
			if e != bufio.ErrBufferFull {
				return dst, l.n, nil, e
			}
		}
		if bad != nil || len(bytes.TrimSpace(out[len(dst):])) > 0 {
			return out, l.n, bad, nil
		}
	}
}

// recordReader reads the records of a JSONL or JSON file.
func recordReader(k kind, r io.Reader) func(dst []byte) (out []byte, line int, bad, err error) {
	if k == lines {
		return newLineReader(r).next
	}
	return newObjectReader(r).next
}

// objectReader gives the elements of a JSON file: of an array, or values one after another.
type objectReader struct {
	r       *bufio.Reader
	line    int
	array   bool
	started bool
}

func newObjectReader(r io.Reader) *objectReader {
	br := bufio.NewReaderSize(r, 1<<20)
	skipMark(br)
	return &objectReader{r: br, line: 1}
}

// byte reads one byte, counting lines.
func (o *objectReader) byte() (byte, error) {
	c, err := o.r.ReadByte()
	if c == '\n' && err == nil {
		o.line++
	}
	return c, err
}

// token is the next byte that is no white space.
func (o *objectReader) token() (byte, error) {
	for {
		c, err := o.byte()
		if err != nil || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, err
		}
	}
}

// syntax is a fault in what stands around the elements, after which there is no going on.
func (o *objectReader) syntax(format string, a ...any) error {
	return fmt.Errorf("line %d: not JSON: %s", o.line, fmt.Sprintf(format, a...))
}

// next appends the next element's bytes to dst; line is where it begins.
func (o *objectReader) next(dst []byte) (out []byte, line int, bad, err error) {
	c, err := o.token()
	if !o.started && err == nil {
		o.started = true
		if c == '[' {
			o.array = true
			if c, err = o.token(); err == nil && c == ']' {
				return dst, o.line, nil, o.end()
			}
		}
	} else if o.array && err == nil {
		switch c {
		case ']':
			return dst, o.line, nil, o.end()
		case ',':
			c, err = o.token()
		default:
			return dst, o.line, nil, o.syntax("%q where a comma or ] is wanted", c)
		}
	}
	if err == io.EOF && o.array {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return dst, o.line, nil, err
	}
	line = o.line
	out, bad, err = o.value(append(dst, c), len(dst))
	return out, line, bad, err
}

// end checks that nothing follows an array.
func (o *objectReader) end() error {
	c, err := o.token()
	if err == nil {
		return o.syntax("%q after the end of the array", c)
	}
	return err
}

// value reads on to the end of the value that begins at out[at].
func (o *objectReader) value(out []byte, at int) ([]byte, error, error) {
	var bad error
	depth, quoted := 0, false
	c := out[at]
	if c != '{' && c != '[' && c != '"' {
		return out, nil, o.syntax("%q where an object is wanted", c)
	}
	for {
		switch {
		case quoted && c == '\\':
			n, err := o.byte()
			if err != nil {
				return out, nil, cutOff(err)
			}
			if bad == nil {
				out = append(out, n)
			}
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == '['):
			depth++
		case !quoted && (c == '}' || c == ']'):
			depth--
		}
		if depth <= 0 && !quoted {
			return out, bad, nil
		}
		var err error
		if c, err = o.byte(); err != nil {
			return out, nil, cutOff(err)
		}
		if bad == nil {
			out = append(out, c)
		}
		if len(out)-at > maxRecord {
			out, bad = out[:at], errTooLong
		}
	}
}

// cutOff is the error for a file that ends inside a value.
func cutOff(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decodeObject reads one JSON object. Bytes that are no UTF-8 become U+FFFD, one for each maximal bad part.
func decodeObject(b []byte) (map[string]any, error) {
	if !utf8.Valid(b) {
		b = []byte(tokenizer.ReplaceInvalid(string(b)))
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		var s *json.SyntaxError
		if errors.As(err, &s) {
			return nil, fmt.Errorf("not JSON: %w (at byte %d)", err, s.Offset)
		}
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s where a JSON object is wanted", typeName(v))
	}
	return m, nil
}

// typeName is a JSON value's type in words.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string, []byte:
		return "a string"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case bool:
		return "a truth value"
	}
	return "a number"
}
