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
					s := Spec{Mode: mode, Group: g}
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
				got := Mask(Spec{Mode: Roll, Group: g}, []int{0, n}, shifted)
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
		s, shifted := Spec{Mode: Split, Group: 2 + r.IntN(9)}, r.IntN(2) == 1
		if r.IntN(3) == 0 {
			s = Windowed(1 + r.IntN(12))
		}
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

// A tile's halo is its first token's: later queries never need earlier keys. And a block's last key is seen longest.
func TestBoundsNeverDecrease(t *testing.T) {
	for g := 2; g < 70; g++ {
		for _, s := range []Spec{{Mode: Split, Group: g}, Windowed(g - 1)} {
			for _, shifted := range []bool{false, true} {
				lastLo, lastHi := 0, 0
				for p := range 60 {
					lo, hi := s.Segment(p, 60, shifted)
					if lo < lastLo || hi < lastHi || lo > p || hi <= p || hi > 60 {
						t.Fatalf("%+v: [%d,%d) at %d after [%d,%d)", s, lo, hi, p, lastLo, lastHi)
					}
					lastLo, lastHi = lo, hi
				}
			}
		}
	}
}

// A window is the same for every head and whatever the mode; a key is seen by the queries up to its segment's end.
func TestWindow(t *testing.T) {
	const n = 25
	for w := 1; w <= n+3; w++ {
		for _, s := range []Spec{Windowed(w), {Mode: Roll, Group: 8, Window: w}, {Mode: Split, Group: 6, Window: w}} {
			for _, shifted := range []bool{false, true} {
				m := Mask(s, []int{0, n}, shifted)
				for q := range n {
					for k := range n {
						if m[q][k] != (k <= q && q-k < w) {
							t.Fatalf("%+v: query %d, key %d: %v", s, q, k, m[q][k])
						}
						if _, hi := s.Segment(k, n, shifted); m[q][k] != (k <= q && q < hi) {
							t.Fatalf("%+v: key %d is seen up to %d, the mask differs at query %d", s, k, hi, q)
						}
					}
				}
				if s.Wraps(n-1, n, shifted) {
					t.Errorf("%+v wraps", s)
				}
			}
		}
	}
	if (Spec{Mode: Full}).Whole() == false || Windowed(3).Whole() || (Spec{Mode: Split, Group: 4}).Whole() {
		t.Error("what sees all of its document")
	}
}

// Pairs counts what the mask allows.
func TestPairs(t *testing.T) {
	const n = 40
	for _, s := range []Spec{{Mode: Full}, {Mode: Split, Group: 16}, {Mode: Split, Group: 7}, Windowed(1), Windowed(9), Windowed(n), Windowed(n + 9)} {
		for _, shifted := range []bool{false, true} {
			m := Mask(s, []int{0, n}, shifted)
			for p0 := range n {
				for p1 := p0; p1 <= n; p1++ {
					want := 0
					for q := p0; q < p1; q++ {
						for _, on := range m[q] {
							if on {
								want++
							}
						}
					}
					if got := s.Pairs(p0, p1, n, shifted); got != float64(want) {
						t.Fatalf("%+v, queries %d to %d: %g pairs, the mask has %d", s, p0, p1, got, want)
					}
				}
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
