package plaintext

import (
	"io"
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
