package plaintext

import (
	"io"
	"strings"
	"testing"
)

// Places that are no UTF-8 are counted as they are replaced, in whatever pieces the text comes.
func TestWatch(t *testing.T) {
	bad := "a\nb\xe9\xe2\x82 \xf0\x9f\x98" // three places, in the second line
	for _, size := range []int{1, 2, 3, 1 << 10} {
		w := &Watch{R: &slow{[]byte(bad + "\xe2\x82\xac"), size}}
		if _, err := io.Copy(io.Discard, w); err != nil || w.Bad != 3 || w.Line != 2 {
			t.Errorf("%d bytes at a time: %d places, the first in line %d, %v", size, w.Bad, w.Line, err)
		}
	}
}

// slow gives some bytes at a time.
type slow struct {
	b    []byte
	size int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.b[:min(s.size, len(s.b))])
	s.b = s.b[n:]
	return n, nil
}

// A note names the first place that is no UTF-8, and how many there are.
func TestReplaced(t *testing.T) {
	for text, want := range map[string]string{
		"café\nü":          "",
		"a\ncaf\xe9\n":     "1 place is no UTF-8 and is read as U+FFFD, the first in line 2; ",
		"\xff a\n\xe9\xe9": "3 places are no UTF-8 and are read as U+FFFD, the first in line 1; ",
	} {
		if got := Replaced([]byte(text)); !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%q: %q", text, got)
		}
	}
}
