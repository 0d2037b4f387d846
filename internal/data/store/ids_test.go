package store

import (
	"encoding/binary"
	"testing"
)

// Every id is held against the vocabulary, wherever it stands.
func TestIDsOutside(t *testing.T) {
	for _, width := range []int{2, 4} {
		for _, vocab := range []int{1, 2, 300, 1<<15 - 1, 1 << 15, 1<<15 + 1, 1<<16 - 1, 1 << 16, 1<<16 + 1, 128256, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			if width == 2 && vocab > 1<<16 {
				continue
			}
			put := func(b []byte, i int, v uint64) {
				if width == 2 {
					binary.LittleEndian.PutUint16(b[2*i:], uint16(v))
				} else {
					binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
				}
			}
			for _, n := range []int{1, 3, 4, 5, 1 << 15, 1<<15 + 3} {
				b := make([]byte, n*width)
				for i := range n {
					put(b, i, uint64(vocab-1-i%min(vocab, 7)))
				}
				if got := outside(b, width, vocab); got != -1 {
					t.Fatalf("width %d, vocabulary %d, %d ids: %d is said to be outside", width, vocab, n, got)
				}
				for _, v := range []uint64{uint64(vocab), uint64(vocab) + 1, 1<<(8*width) - 1} {
					if v < uint64(vocab) || v >= 1<<(8*width) {
						continue
					}
					at := (n - 1) * 2 / 3
					c := append([]byte(nil), b...)
					put(c, at, v)
					if got := outside(c, width, vocab); got != at {
						t.Fatalf("width %d, vocabulary %d: id %d at %d of %d is found at %d", width, vocab, v, at, n, got)
					}
				}
			}
		}
	}
}

func BenchmarkIDsOutside(b *testing.B) {
	ids := make([]byte, 64<<20)
	b.SetBytes(int64(len(ids)))
	for b.Loop() {
		outside(ids, 2, 32000)
	}
}
