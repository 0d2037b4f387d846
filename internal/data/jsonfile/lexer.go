// Package jsonfile reads the records of JSON files: lines, or objects in an array or one after another, of any length,
// in memory that does not grow with the file. It is as lenient as Python's json where data sets rely on that: NaN and
// Infinity are null, and bytes that are no UTF-8 are U+FFFD.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"longlora/internal/data/record"
)

// lexer goes through JSON text that lies in memory, or that comes from a reader a window at a time. It finds where
// values end by their quotes and brackets alone; what lies within is checked by whoever reads it.
type lexer struct {
	b    []byte
	at   int       // the next byte
	held int       // from where on bytes stay in b; -1: from at
	most int       // bytes that may be held
	r    io.Reader // what comes behind b; nil: nothing
	end  error     // of r
	line int       // newlines before b[seen]
	seen int
}

// mostNames is how many of a record's fields are remembered by name.
const mostNames = 1000

func newLexer(r io.Reader, before []byte) *lexer { return &lexer{r: r, b: before, held: -1} }

// more reads on, and reports whether there is more in b.
func (l *lexer) more() bool {
	if l.r == nil || l.end != nil {
		return false
	}
	keep := l.at
	if l.held >= 0 {
		keep = l.held
	}
	if len(l.b)-keep > l.most && l.held >= 0 {
		return false
	}
	if keep > len(l.b)/2 || keep == len(l.b) {
		if l.seen < keep {
			l.line += bytes.Count(l.b[l.seen:keep], newline)
			l.seen = keep
		}
		l.b = l.b[:copy(l.b, l.b[keep:])]
		l.at -= keep
		l.seen -= keep
		if l.held >= 0 {
			l.held = 0
		}
	}
	if cap(l.b)-len(l.b) < 1<<12 {
		l.b = append(make([]byte, 0, 2*cap(l.b)+1<<18), l.b...)
	}
	for {
		n, err := l.r.Read(l.b[len(l.b):cap(l.b)])
		l.b = l.b[:len(l.b)+n]
		l.end = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
}

func notJSON(format string, a ...any) error { return fmt.Errorf("not JSON: "+format, a...) }

// lineAt is the line of the next byte.
func (l *lexer) lineAt() int {
	if l.at < l.seen {
		l.line -= bytes.Count(l.b[l.at:l.seen], newline)
	} else {
		l.line += bytes.Count(l.b[l.seen:l.at], newline)
	}
	l.seen = l.at
	return 1 + l.line
}

var newline = []byte("\n")

// peek is the next byte.
func (l *lexer) peek() (byte, error) {
	if l.at == len(l.b) && !l.more() {
		return 0, l.ended()
	}
	return l.b[l.at], nil
}

// ended is why there is no next byte: io.EOF at the end of the text.
func (l *lexer) ended() error {
	if l.held >= 0 && len(l.b)-l.held > l.most && l.end == nil && l.r != nil {
		return record.ErrLong
	}
	if l.end == nil {
		return io.EOF
	}
	return l.end
}

// token is the next byte that is no white space. It is not passed.
func (l *lexer) token() (byte, error) {
	for {
		c, err := l.peek()
		if err != nil || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, err
		}
		l.at++
	}
}

// ahead are the next n bytes, fewer at the end of the text.
func (l *lexer) ahead(n int) []byte {
	for len(l.b)-l.at < n && l.more() {
	}
	return l.b[l.at:min(len(l.b), l.at+n)]
}

// quoted passes a string, from its quote to its quote.
func (l *lexer) quoted() error {
	l.at++
	for {
		for l.at < len(l.b) {
			switch l.b[l.at] {
			case '"':
				l.at++
				return nil
			case '\\':
				if l.at+1 == len(l.b) && !l.more() {
					return record.CutOff(l.ended())
				}
				l.at++
			}
			l.at++
		}
		if !l.more() {
			return record.CutOff(l.ended())
		}
	}
}

// value passes a value, which the next byte begins.
func (l *lexer) value() error {
	depth := 0
	for {
		c, err := l.peek()
		switch {
		case err != nil:
			return record.CutOff(err)
		case c == '"':
			err = l.quoted()
		case c == '{' || c == '[':
			depth++
			l.at++
		case (c == '}' || c == ']') && depth > 0:
			depth--
			l.at++
		case depth > 0:
			l.at++
		default:
			err = l.literal()
		}
		if err != nil || depth == 0 {
			return err
		}
	}
}

// literal passes a number or a word to what ends it.
func (l *lexer) literal() error {
	for n := 0; ; n++ {
		c, err := l.peek()
		if err == io.EOF && n > 0 {
			return nil
		}
		if err != nil {
			return record.CutOff(err)
		}
		switch c {
		case ',', ']', '}', ':', '"', '[', '{', ' ', '\t', '\r', '\n':
			if n == 0 {
				return notJSON("%q where a value is wanted", c)
			}
			return nil
		}
		l.at++
	}
}

// object passes an object, which comes next. member is called with the lexer at each member's value, which it has to
// pass.
func (l *lexer) object(member func(key string) error) error {
	c, err := l.token()
	if err != nil {
		return record.CutOff(err)
	}
	if c != '{' {
		return notJSON("%q where an object is wanted", c)
	}
	l.at++
	for first := true; ; first = false {
		c, err := l.token()
		if err != nil {
			return record.CutOff(err)
		}
		if first && c == '}' {
			l.at++
			return nil
		}
		key, err := l.key(c)
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		switch c, err := l.token(); {
		case err != nil:
			return record.CutOff(err)
		case c == '}':
			l.at++
			return nil
		case c != ',':
			return notJSON("%q where a comma or } is wanted", c)
		}
		l.at++
	}
}

// key passes a member's name, its colon and the white space before its value.
func (l *lexer) key(c byte) (string, error) {
	if c != '"' {
		return "", notJSON("%q where a field's name is wanted", c)
	}
	l.held, l.most = l.at, 1<<20
	err := l.quoted()
	var key string
	if err == nil {
		raw := l.b[l.held:l.at]
		if key = string(raw[1 : len(raw)-1]); bytes.IndexByte(raw, '\\') >= 0 {
			err = json.Unmarshal(raw, &key)
		}
	}
	l.held = -1
	if err == nil {
		c, err = l.token()
	}
	if err == nil && c != ':' {
		err = notJSON("%q where a colon is wanted", c)
	}
	if err == nil {
		l.at++
		_, err = l.token()
	}
	if err == record.ErrLong {
		err = notJSON("a field's name of more than 1 MiB")
	}
	return key, record.CutOff(err)
}

// text passes a string, whose quote is the next byte, and gives what it says to emit, piece by piece.
func (l *lexer) text(emit func([]byte) error) error {
	l.at++
	var out []byte
	for {
		from := l.at
		for l.at < len(l.b) && l.b[l.at] != '"' && l.b[l.at] != '\\' && l.b[l.at] >= ' ' {
			l.at++
		}
		out = append(out, l.b[from:l.at]...)
		if l.at == len(l.b) {
			if err := emit(out); err != nil {
				return err
			}
			if out = out[:0]; !l.more() {
				return record.CutOff(l.ended())
			}
			continue
		}
		switch c := l.b[l.at]; {
		case c == '"':
			l.at++
			return emit(out)
		case c < ' ':
			return notJSON("the control character %q within a string", c)
		}
		r, err := l.escape()
		if err != nil {
			return err
		}
		out = utf8.AppendRune(out, r)
	}
}

// escape passes one escaped character; half a surrogate pair is U+FFFD.
func (l *lexer) escape() (rune, error) {
	const longest = len(`\ud83d\ude00`)
	b := l.ahead(longest)
	if len(b) < 2 {
		return 0, record.CutOff(l.ended())
	}
	if b[1] != 'u' {
		i := bytes.IndexByte([]byte(`"\/bfnrt`), b[1])
		if i < 0 {
			return 0, notJSON("\\%c within a string", b[1])
		}
		l.at += 2
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	r, ok := unit(b)
	if !ok {
		return 0, notJSON("%q within a string", b[:min(len(b), 6)])
	}
	l.at += 6
	if utf16.IsSurrogate(r) {
		low, ok := unit(b[6:])
		if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
			l.at += 6
			return pair, nil
		}
		return utf8.RuneError, nil
	}
	return r, nil
}

// unit reads a UTF-16 unit: \u and four hexadecimal digits.
func unit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		d := bytes.IndexByte([]byte("0123456789abcdef"), c|0x20)
		if c < '0' || c > 'f' || c > '9' && c < 'A' || d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}
