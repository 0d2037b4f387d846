package jsonfile

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"
)

// The lexer reads the same from a reader that gives a byte at a time as from memory.
func FuzzLexer(f *testing.F) {
	for _, s := range []string{`{"text":"a\n\u00e9\ud83d\ude00\ud83d","n":[1,{"a":"]"}],"x":NaN} `, `{"a":{},"text":"`, `{"text":1,"text":"b"}`, `{"\u0074ext":"x"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !strings.HasPrefix(s, "{") || len(s) > 1<<16 {
			return
		}
		through := func(l *lexer) (out string, err error) {
			err = l.object(func(key string) error {
				c, err := l.peek()
				if err == nil && key == "text" && c == '"' {
					return l.text(func(b []byte) error {
						out += string(b)
						return nil
					})
				}
				return l.value()
			})
			return out, err
		}
		a, errA := through(&lexer{b: []byte(s), held: -1})
		b, errB := through(newLexer(iotest.OneByteReader(strings.NewReader(s)), nil))
		if errA == nil && a != b || (errA == nil) != (errB == nil) {
			t.Fatalf("%q: %q, %v; a byte at a time %q, %v", s, a, errA, b, errB)
		}
		m, _, err := Decode([]byte(s), func(f string) bool { return f == "text" })
		if err != nil {
			return
		}
		var v map[string]any
		if json.Unmarshal([]byte(strings.ToValidUTF8(s, "\ufffd")), &v) != nil {
			return // NaN
		}
		if _, text := v["text"]; text {
			if _, ok := m["text"]; !ok {
				t.Fatalf("%q: the field is not found", s)
			}
		}
	})
}
