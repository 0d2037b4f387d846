package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"longlora/internal/data/record"
	"longlora/internal/tokenizer"
)

// Decode reads the wanted fields of one JSON object; names are those that it has, the first of them where there are
// many. Bytes that are no UTF-8 become U+FFFD, one for each maximal bad part. What is no JSON object is an error, also
// in a field that is not wanted, and so is a wanted field that stands twice.
func Decode(b []byte, want func(field string) bool) (m map[string]any, names []string, err error) {
	l := lexer{b: b, held: -1}
	c, err := l.token()
	if err == nil && c != '{' {
		v, err := decodeValue(b)
		if err == nil {
			err = fmt.Errorf("%s where a JSON object is wanted", record.TypeName(v))
		}
		return nil, nil, err
	}
	m = map[string]any{}
	if err == nil {
		err = l.object(func(key string) error {
			if len(names) <= mostNames {
				names = append(names, key)
			}
			from := l.at
			if err := l.value(); err != nil {
				return err
			}
			if !want(key) {
				return validValue(b[from:l.at])
			}
			if _, again := m[key]; again {
				return twice(key)
			}
			v, err := decodeValue(b[from:l.at])
			if err == nil {
				err = noneTwice(b[from:l.at])
			}
			m[key] = v
			return err
		})
	}
	if err == nil {
		if c, e := l.token(); e == nil {
			err = notJSON("%q after the end of the object", c)
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errCutShort
	}
	return m, names, err
}

// twice is the fault of a field that an object has two of: which one is meant nobody can tell.
func twice(key string) error { return fmt.Errorf("field %q stands twice", key) }

// noneTwice refuses a value, which is sound, when an object in it has a field twice.
func noneTwice(b []byte) error {
	l := lexer{b: b, held: -1}
	return l.once()
}

// once passes a value like value does, and looks for a field that stands twice.
func (l *lexer) once() error {
	c, err := l.token()
	switch {
	case err != nil:
		return err
	case c == '{':
		seen := map[string]bool{}
		return l.object(func(key string) error {
			if seen[key] {
				return twice(key)
			}
			seen[key] = true
			return l.once()
		})
	case c != '[':
		return l.value()
	}
	for l.at++; ; {
		switch c, err := l.token(); {
		case err != nil:
			return err
		case c == ']':
			l.at++
			return nil
		case c == ',':
			l.at++
		default:
			if err := l.once(); err != nil {
				return err
			}
		}
	}
}

// decodeValue reads any value. NaN and Infinity, which Python's json writes, are read as null.
func decodeValue(b []byte) (v any, err error) {
	if !utf8.Valid(b) {
		b = []byte(tokenizer.ReplaceInvalid(string(b)))
	}
	err = json.Unmarshal(b, &v)
	if err != nil {
		if mended := withoutNaN(b); mended != nil {
			err = json.Unmarshal(mended, &v)
		}
	}
	if err != nil {
		return nil, notJSON("%w", err)
	}
	return v, nil
}

// validValue checks a value that is not wanted.
func validValue(b []byte) error {
	if json.Valid(b) {
		return nil
	}
	if mended := withoutNaN(b); mended != nil && json.Valid(mended) {
		return nil
	}
	return notJSON("%w", json.Unmarshal(b, &struct{}{}))
}

// withoutNaN writes null for each NaN and Infinity outside strings; nil where there is none.
func withoutNaN(b []byte) []byte {
	l := lexer{b: b, held: -1}
	var out []byte
	done := 0
	for {
		c, err := l.peek()
		if err != nil {
			break
		}
		if c == '"' {
			if l.quoted() != nil {
				return nil
			}
			continue
		}
		n := 0
		for _, w := range []string{"NaN", "Infinity", "-Infinity"} {
			if bytes.HasPrefix(b[l.at:], []byte(w)) {
				n = len(w)
			}
		}
		if n > 0 {
			out = append(append(out, b[done:l.at]...), "null"...)
			done = l.at + n
		}
		l.at += max(n, 1)
	}
	if out == nil {
		return nil
	}
	return append(out, b[done:]...)
}
