package s2attn

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// The definition once more, written as lists of boundaries instead of arithmetic.
func boundaries(s Spec, n int, shifted bool) []int {
	if s.Mode == Full {
		return []int{0, n}
	}
	b := []int{0}
	next := s.Group
	if shifted {
		next = s.Group / 2
	}
	for ; next < n; next += s.Group {
		b = append(b, next)
	}
	return append(b, n)
}

func TestSegmentsAreTheListedIntervals(t *testing.T) {
	for n := 1; n <= 40; n++ {
		for g := 2; g <= 45; g++ {
			for _, mode := range []Mode{Full, Split} {
				for _, shifted := range []bool{false, true} {
					s := Spec{mode, g}
					b := boundaries(s, n, shifted)
					for i := 0; i+1 < len(b); i++ {
						for p := b[i]; p < b[i+1]; p++ {
							lo, hi := s.Segment(p, n, shifted)
							if lo != b[i] || hi != b[i+1] {
								t.Fatalf("%v n=%d p=%d shifted=%v: [%d,%d), want [%d,%d)", s, n, p, shifted, lo, hi, b[i], b[i+1])
							}
						}
					}
				}
			}
		}
	}
}

// Roll against the paper's pseudo-code: roll left by G/2, cut into groups, causal by slot, roll back.
func TestRollIsThePseudoCode(t *testing.T) {
	for _, g := range []int{2, 4, 6, 8} {
		for groups := 1; groups <= 5; groups++ {
			n := g * groups
			for _, shifted := range []bool{false, true} {
				got := Mask(Spec{Roll, g}, []int{0, n}, shifted)
				token := func(slot int) int { // which token stands in a slot after the roll
					if !shifted {
						return slot
					}
					return (slot + g/2) % n
				}
				want := make([][]bool, n)
				for i := range want {
					want[i] = make([]bool, n)
				}
				for q := range n {
					for k := range n {
						want[token(q)][token(k)] = q/g == k/g && k <= q
					}
				}
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("g=%d n=%d shifted=%v: the mask differs from the pseudo-code's", g, n, shifted)
				}
			}
		}
	}
}

func TestMaskStopsAtDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		docs := []int{0}
		for range 1 + r.IntN(4) {
			docs = append(docs, docs[len(docs)-1]+1+r.IntN(12))
		}
		s, shifted := Spec{Split, 2 + r.IntN(9)}, r.IntN(2) == 1
		m := Mask(s, docs, shifted)
		for i := 0; i+1 < len(docs); i++ {
			alone := Mask(s, []int{0, docs[i+1] - docs[i]}, shifted)
			for q := docs[i]; q < docs[i+1]; q++ {
				for k := range m[q] {
					inside := k >= docs[i] && k < docs[i+1]
					if m[q][k] != (inside && alone[q-docs[i]][k-min(k, docs[i])]) {
						t.Fatalf("%v docs %v: query %d, key %d", s, docs, q, k)
					}
				}
			}
		}
	}
}

// A tile's halo is its first token's: later queries never need earlier keys.
func TestStartsNeverDecrease(t *testing.T) {
	for g := 2; g < 12; g++ {
		for _, shifted := range []bool{false, true} {
			last := 0
			for p := range 60 {
				lo, _ := Spec{Split, g}.Segment(p, 60, shifted)
				if lo < last {
					t.Fatalf("G=%d: start %d after %d", g, lo, last)
				}
				last = lo
			}
		}
	}
}

func TestClasses(t *testing.T) {
	for _, c := range []struct {
		h, hkv int
		want   string
	}{{8, 8, "pppp ssss"}, {9, 3, "p b s"}, {6, 2, "p s"}, {4, 1, "b"}, {5, 5, "pp sss"}} {
		got := ""
		for j := range c.hkv {
			p, s := KVClass(j, c.h, c.hkv)
			got += map[[2]bool]string{{true, false}: "p", {false, true}: "s", {true, true}: "b"}[[2]bool{p, s}]
		}
		want := ""
		for _, r := range c.want {
			if r != ' ' {
				want += string(r)
			}
		}
		if got != want {
			t.Errorf("H=%d Hkv=%d: %s, want %s", c.h, c.hkv, got, want)
		}
	}
}
