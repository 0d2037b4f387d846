//go:build cgo

package csrc_test

import (
	"math/rand/v2"
	"testing"

	"longlora/csrc"
	"longlora/internal/s2attn"
)

// The segment function exists twice, in Go and in C for host and device; they must never differ.
func TestSegmentsEqualGo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 50000 {
		n := 1 + r.IntN(1<<uint(1+r.IntN(30)))
		spec := s2attn.Spec{Mode: s2attn.Mode(r.IntN(3)), Group: 2 + r.IntN(1<<uint(1+r.IntN(20)))}
		if r.IntN(2) == 1 {
			spec.Window = 1 + r.IntN(1<<uint(1+r.IntN(30)))
		}
		p, shifted := r.IntN(n), r.IntN(2) == 1
		lo, hi := spec.Segment(p, n, shifted)
		clo, chi := csrc.Segment(int(spec.Mode), spec.Group, spec.Window, p, n, shifted)
		if lo != clo || hi != chi || spec.Wraps(p, n, shifted) != csrc.Wraps(int(spec.Mode), spec.Group, spec.Window, p, n, shifted) {
			t.Fatalf("%v p=%d n=%d shifted=%v: Go [%d,%d), C [%d,%d)", spec, p, n, shifted, lo, hi, clo, chi)
		}
	}
}
