package data

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"longlora/internal/tokenizer"
)

// utf8Watch passes text on as it is and counts the places in it that are no UTF-8, one for each U+FFFD that is read in
// their stead.
type utf8Watch struct {
	r     io.Reader
	bad   int
	line  int    // of the first of them, or its row
	lines int    // before what was looked at last, until the first is found; rows of a table
	rest  []byte // the beginning of a character whose end comes with the next bytes
}

func (w *utf8Watch) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if len(w.rest) > 0 || !utf8.Valid(p[:n]) {
		w.look(append(w.rest, p[:n]...), err != nil)
	} else if w.bad == 0 {
		w.lines += bytes.Count(p[:n], newline)
	}
	if n == 0 && err != nil && len(w.rest) > 0 {
		w.look(w.rest, true)
	}
	return n, err
}

// look goes through text in which something may be wrong; last says that nothing follows it.
func (w *utf8Watch) look(b []byte, last bool) {
	w.rest = nil
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		switch {
		case r != utf8.RuneError || n > 1:
			if r == '\n' && w.bad == 0 {
				w.lines++
			}
		case !last && !utf8.FullRune(b[i:]):
			w.rest = bytes.Clone(b[i:])
			return
		default:
			if w.bad++; w.bad == 1 {
				w.line = w.lines + 1
			}
			n = tokenizer.BadPrefix(b[i:])
		}
		i += n
	}
}

// text is a cell's text as it is read, in which what is no UTF-8 was replaced and counted.
func (w *utf8Watch) text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	row, first := w.lines, w.bad == 0
	w.look([]byte(s), true)
	if w.lines = row; first {
		w.line = row + 1
	}
	return tokenizer.ReplaceInvalid(s)
}

// replaced gathers what was read in another encoding than UTF-8, for a note.
type replaced struct {
	mu            sync.Mutex
	places, files int
	first         string // where the first place is
}

// add takes in what was seen of a file.
func (c *replaced) add(x *file) {
	if x.watch.bad == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places == 0 {
		c.first = fmt.Sprintf("line %d", x.watch.line)
		if k, _ := kindOf(x.path); k == columns || k == arrow {
			c.first = fmt.Sprintf("row %d", x.watch.line)
		}
		c.first += " of " + x.path
	}
	c.places += x.watch.bad
	c.files++
}

// noteReplaced says that text is not read as its bytes stand there.
func (s *source) noteReplaced() {
	c := &s.replaced
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places == 0 {
		return
	}
	where := ""
	if c.files > 1 {
		where = fmt.Sprintf(" in %d files", c.files)
	}
	places := "1 place is no UTF-8 and is"
	if c.places > 1 {
		places = fmt.Sprintf("%d places%s are no UTF-8 and are", c.places, where)
	}
	s.note("%s: %s read as U+FFFD, the first in %s; text of another encoding is to be converted first (such as by "+
		"iconv -f LATIN1 -t UTF-8)", s.path, places, c.first)
	c.places, c.files = 0, 0
}
