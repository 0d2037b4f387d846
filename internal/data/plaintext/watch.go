package plaintext

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"longlora/internal/tokenizer"
)

// Watch passes text on as it is and counts the places in it that are no UTF-8, one for each U+FFFD that is read in
// their stead.
type Watch struct {
	R     io.Reader // what Read reads; not used by Text
	Bad   int       // places
	Line  int       // of the first of them, or its row
	lines int       // before what was looked at last, until the first is found; rows of a table
	rest  []byte    // the beginning of a character whose end comes with the next bytes
}

func (w *Watch) Read(p []byte) (int, error) {
	n, err := w.R.Read(p)
	if len(w.rest) > 0 || !utf8.Valid(p[:n]) {
		w.look(append(w.rest, p[:n]...), err != nil)
	} else if w.Bad == 0 {
		w.lines += bytes.Count(p[:n], []byte{'\n'})
	}
	if n == 0 && err != nil && len(w.rest) > 0 {
		w.look(w.rest, true)
	}
	return n, err
}

// look goes through text in which something may be wrong; last says that nothing follows it.
func (w *Watch) look(b []byte, last bool) {
	w.rest = nil
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r != utf8.RuneError || n > 1:
			if r == '\n' && w.Bad == 0 {
				w.lines++
			}
		case !last && !utf8.FullRune(b[i:]):
			w.rest = bytes.Clone(b[i:])
			return
		default:
			if w.Bad++; w.Bad == 1 {
				w.Line = w.lines + 1
			}
			n = tokenizer.BadPrefix(b[i:])
		}
		i += n
	}
}

// AtRow says which row of a table what is given to text next is of, counted from 1.
func (w *Watch) AtRow(row int) { w.lines = row - 1 }

// Text is a cell's text as it is read, in which what is no UTF-8 was replaced and counted.
func (w *Watch) Text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	row, first := w.lines, w.Bad == 0
	w.look([]byte(s), true)
	if w.lines = row; first {
		w.Line = row + 1
	}
	return tokenizer.ReplaceInvalid(s)
}

// Replaced is a note on a text in which something is no UTF-8, "" for one in which nothing is.
func Replaced(b []byte) string {
	w := &Watch{}
	if w.look(b, true); w.Bad == 0 {
		return ""
	}
	return SayReplaced(w.Bad, "", fmt.Sprintf("line %d", w.Line))
}

// SayReplaced is a note on n places that are no UTF-8. where may say in what they all are, first says where the first
// is.
func SayReplaced(n int, where, first string) string {
	places := "1 place is no UTF-8 and is"
	if n > 1 {
		places = fmt.Sprintf("%d places%s are no UTF-8 and are", n, where)
	}
	return places + " read as U+FFFD, the first in " + first + "; text of another encoding is to be converted first " +
		"(such as by iconv -f LATIN1 -t UTF-8)"
}
