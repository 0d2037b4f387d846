package model

import "longlora/internal/s2attn"

// What a tile needs of the tokens before it, and what later tiles need of its own: arithmetic on positions alone. How
// it comes there is transport.go's.

// headRun is a run of key/value heads that serve the same classes of query heads.
type headRun struct {
	h0, h1         int // [h0, h1)
	plain, shifted bool
}

// headRuns divides the key/value heads; there are at most three runs. Where all heads attend alike there is one.
func headRuns(s s2attn.Spec, h, hkv int) []headRun {
	if s.Mode == s2attn.Full {
		return []headRun{{0, hkv, true, false}}
	}
	var runs []headRun
	for j := range hkv {
		p, s := s2attn.KVClass(j, h, hkv)
		if n := len(runs); n > 0 && runs[n-1].plain == p && runs[n-1].shifted == s {
			runs[n-1].h1 = j + 1
			continue
		}
		runs = append(runs, headRun{j, j + 1, p, s})
	}
	return runs
}

// span are the tokens [lo, hi) of a sequence.
type span struct{ lo, hi int }

func (s span) n() int { return s.hi - s.lo }

// reach is what the tiles of a sequence need of the tokens before them, in layers that attend in one way.
type reach struct {
	g      *geometry
	spec   s2attn.Spec
	runs   []headRun
	before [][]span // [tile][run] see needs; one more than there are tiles, of which the last is empty
}

func newReach(g *geometry, spec s2attn.Spec, runs []headRun) *reach {
	x := &reach{g: g, spec: spec, runs: runs}
	for i := range g.tiles() + 1 {
		t0 := g.n
		if i < g.tiles() {
			t0, _ = g.tile(i)
		}
		row := make([]span, len(runs))
		for r, run := range runs {
			row[r] = span{x.haloLo(t0, run), t0}
		}
		x.before = append(x.before, row)
	}
	return x
}

// dense reports whether every key and value of the sequence is kept in one buffer a layer: under full attention a
// tile's halo is all that came before. A sequence that grows is short of nothing but time. Of one that ranks divide a
// rank has the halo of the layer that it works on.
func (x *reach) dense() bool {
	return x.g.grows || x.spec.Whole() && x.g.tiles() > 1 && !x.g.divided()
}

// haloLo is the first token that queries from t on still need for a run of heads: the first that t sees. Starts never
// decrease along the sequence, so what a query at t needs covers every later one.
func (x *reach) haloLo(t int, r headRun) int {
	g := x.g
	if t == 0 || t >= g.n {
		return t
	}
	switch {
	case g.worst && !x.spec.Whole():
		return max(0, t-(x.spec.Reach()-1))
	case g.worst && g.divided():
		return 0
	}
	d0, d1 := g.doc(t)
	lo := t
	for _, shifted := range []bool{false, true} {
		if shifted && r.shifted || !shifted && r.plain {
			s, _ := x.spec.Segment(t-d0, d1-d0, shifted)
			lo = min(lo, d0+s)
		}
	}
	return lo
}

// needs is the halo of tile i: the tokens before it of which it needs a run's keys and values, and whose gradients it
// adds to.
func (x *reach) needs(i, run int) span { return x.before[i][run] }

// owed are the tokens up to tile i's end whose gradients later tiles add to: the halo of the tile after it, whose own
// halo, and so on, begins no earlier.
func (x *reach) owed(i, run int) span { return x.before[i+1][run] }

// keeps are those of tile i's own tokens that later tiles need.
func (x *reach) keeps(i, run int) span {
	t0, _ := x.g.tile(i)
	s := x.before[i+1][run]
	return span{max(t0, s.lo), s.hi}
}

// halo is the longest halo of tile i over the runs.
func (x *reach) halo(i int) int {
	n := 0
	for r := range x.runs {
		n = max(n, x.needs(i, r).n())
	}
	return n
}

// longest is a run's longest halo over the tiles.
func (x *reach) longest(run int) int {
	n := 0
	for i := range x.g.tiles() {
		n = max(n, x.needs(i, run).n())
	}
	return n
}

// window is the most keys that any tile's attention reads: its own and its longest halo.
func (x *reach) window() int {
	w, longest := 0, 0
	for i := range x.g.tiles() {
		t0, t1 := x.g.tile(i)
		w, longest = max(w, t1-t0+x.halo(i)), max(longest, x.halo(i))
	}
	if x.g.divided() && !x.spec.Whole() { // of a shorter sequence another span may be the longest
		w = x.g.t + longest
	}
	return w
}
