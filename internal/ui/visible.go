package ui

import (
	"fmt"
	"io"
	"os"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Visible passes text on with its control characters written out (\u001b): a name or a value that an error quotes from
// a file must not be able to move a terminal's cursor, hide lines or set its title. Line ends and tabs stay, and bytes
// that are no UTF-8 become U+FFFD.
type Visible struct {
	w    io.Writer
	mu   sync.Mutex
	rest []byte // of a character whose other bytes come with the next call
}

// NewVisible stands before w.
func NewVisible(w io.Writer) *Visible { return &Visible{w: w} }

// Write writes all of p or says why not.
func (v *Visible) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	in := append(v.rest, p...)
	out := make([]byte, 0, len(in))
	for len(in) > 0 && utf8.FullRune(in) {
		r, n := utf8.DecodeRune(in)
		out, in = appendVisible(out, r, r == '\n' || r == '\t'), in[n:]
	}
	v.rest = append([]byte(nil), in...)
	if _, err := v.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// appendVisible writes a character, a control character out unless it may stay.
func appendVisible(b []byte, r rune, stays bool) []byte {
	if unicode.IsControl(r) && !stays {
		return fmt.Appendf(b, `\u%04x`, r)
	}
	return utf8.AppendRune(b, r)
}

// inLine is a text as a part of one line, every control character written out.
func inLine(s string) string {
	var b []byte
	for _, r := range s {
		b = appendVisible(b, r, false)
	}
	return string(b)
}

// Unwrap is what stands behind.
func (v *Visible) Unwrap() io.Writer { return v.w }

// Terminal is the file behind w, and behind what stands before it, where that is a terminal.
func Terminal(w io.Writer) (f *os.File, ok bool) {
	for {
		before, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			break
		}
		w = before.Unwrap()
	}
	f, ok = w.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}
