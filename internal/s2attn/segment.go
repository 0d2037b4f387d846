// Package s2attn defines shifted sparse attention (S²-Attn; LongLoRA, arXiv 2309.12307, sec. 3.2) as one
// function of positions. A token at position p of a document of n tokens attends to the keys lo..p of its
// segment [lo, hi). Plain heads have segments of G tokens; shifted heads have the same, moved by S = ⌊G/2⌋.
// Nothing is rolled or copied: the shift is index arithmetic. The same arithmetic stands in csrc/segments.h.
//
// A layer with a sliding window of W tokens has no segments: every head sees the keys max(0, p-W+1)..p.
//
// N = 16, G = 8, one character a token, the same letter one segment:
//
//	plain    aaaaaaaabbbbbbbb
//	shifted  aaaabbbbbbbbcccc    split: nothing sees the future
//	shifted  aaaabbbbbbbbaaaa    roll: the last and the first half group share a segment, in that order
package s2attn

// Mode is a way of attending.
type Mode uint8

const (
	// Full is causal attention over the whole document.
	Full Mode = iota
	// Split is S²-Attn without wrap-around, as the reference's flash-attention path computes it.
	Split
	// Roll is S²-Attn as the paper's pseudo-code has it; documents are whole multiples of an even G.
	Roll
)

func (m Mode) String() string { return [...]string{"full", "split", "roll"}[m] }

// Spec says which tokens attend to which: a mode with its group size in tokens, or a window. Group has no meaning under
// Full, and neither mode nor group has one with a window: see Windowed.
type Spec struct {
	Mode   Mode
	Group  int
	Window int // W of a sliding window, 0 without
}

// Windowed is the way of attending of a layer with a sliding window of w tokens: a token sees itself and the w-1 before
// it.
func Windowed(w int) Spec { return Spec{Mode: Full, Window: w} }

// Whole reports whether a token sees all of its document before it.
func (s Spec) Whole() bool { return s.Mode == Full && s.Window == 0 }

// Reach is how many tokens a query sees at most, itself among them; it has no meaning where Whole.
func (s Spec) Reach() int {
	if s.Window > 0 {
		return s.Window
	}
	return s.Group
}

// Segment is the interval of positions that the token at position p of a document of n tokens shares a
// segment with: it sees the keys lo..p, and the queries p..hi-1 see it. For the token whose segment wraps (see Wraps)
// it is the token's own half.
func (s Spec) Segment(p, n int, shifted bool) (lo, hi int) {
	if s.Window > 0 {
		return max(0, p-s.Window+1), p + min(s.Window, n-p)
	}
	if s.Mode == Full {
		return 0, n
	}
	if !shifted {
		lo = p / s.Group * s.Group
		return lo, min(lo+s.Group, n)
	}
	half := s.Group / 2
	if p < half {
		return 0, min(half, n)
	}
	lo = half + (p-half)/s.Group*s.Group
	return lo, min(lo+s.Group, n)
}

// Wraps reports whether a token's segment is the one that Roll joins: positions [n-G/2, n) and then [0, G/2).
// A token in the second part sees all of the first.
func (s Spec) Wraps(p, n int, shifted bool) bool {
	half := s.Group / 2
	return s.Mode == Roll && s.Window == 0 && shifted && (p < half || p >= n-half)
}

// Pairs is the number of (query, key) that the queries at positions p0..p1-1 of a document of n tokens see.
func (s Spec) Pairs(p0, p1, n int, shifted bool) float64 {
	pairs := 0.0
	for p := p0; p < p1; {
		lo, hi := s.Segment(p, n, shifted)
		end := min(hi, p1) // the queries p..end-1 see the keys from lo on
		if s.Window > 0 {
			if p >= s.Window-1 {
				return pairs + float64(s.Window)*float64(p1-p)
			}
			end = min(s.Window-1, p1)
		}
		pairs += (float64(p-lo+1) + float64(end-lo)) / 2 * float64(end-p)
		p = end
	}
	return pairs
}

// Keys is how many keys a query of a document of n tokens sees on average, as figures of speed count it: half of its
// group or document, in the segments at the ends too, and of a window W - W²/2n, because the first W tokens see half of
// it.
func (s Spec) Keys(n int) float64 {
	if s.Window > 0 {
		w := float64(min(s.Window, n))
		return w - w*w/float64(2*n)
	}
	if s.Mode == Full {
		return float64(n) / 2
	}
	return float64(min(s.Group, n)) / 2
}

// Shifted reports whether query head h of H is shifted: the second half is, the larger one when H is odd.
func Shifted(h, H int) bool { return h >= H/2 }

// KVClass says which classes of query heads the key/value head j of Hkv serves.
func KVClass(j, H, Hkv int) (plain, shifted bool) {
	r := H / Hkv
	return !Shifted(j*r, H), Shifted((j+1)*r-1, H)
}

// Mask is the N×N oracle: Mask[q][k] says whether query q sees key k. docs are the documents' boundaries,
// from 0 to N.
func Mask(s Spec, docs []int, shifted bool) [][]bool {
	n := docs[len(docs)-1]
	m := make([][]bool, n)
	for i := 0; i+1 < len(docs); i++ {
		d0, d1 := docs[i], docs[i+1]
		for q := d0; q < d1; q++ {
			m[q] = make([]bool, n)
			lo, _ := s.Segment(q-d0, d1-d0, shifted)
			for k := d0 + lo; k <= q; k++ {
				m[q][k] = true
			}
			if s.Wraps(q-d0, d1-d0, shifted) && q-d0 < s.Group/2 {
				for k := d1 - s.Group/2; k < d1; k++ {
					m[q][k] = true
				}
			}
		}
	}
	return m
}
