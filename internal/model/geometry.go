package model

import (
	"sort"

	"longlora/internal/s2attn"
)

// Batch is one micro-batch: its rows laid end to end, padding left out.
type Batch struct {
	IDs     []int32  // (N)
	Targets []int32  // (N) the next token, -1 where it is not scored
	Docs    []int32  // boundaries of the documents: 0 = Docs[0] < … < Docs[n] = N
	Keys    []uint64 // (N) dropout keys, nil without dropout
}

// headRun is a run of key/value heads that serve the same classes of query heads.
type headRun struct {
	h0, h1         int // [h0, h1)
	plain, shifted bool
}

// headRuns divides the key/value heads; there are at most three runs.
func headRuns(h, hkv int) []headRun {
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

// geometry says how one sequence is divided and what each tile needs of the tokens before it.
type geometry struct {
	n, t  int // tokens of the sequence, of a tile
	spec  s2attn.Spec
	docs  []int32
	worst bool // halos as long as any cuts could make them
	grows bool // a sequence that is appended to: see Session
	runs  []headRun
}

// tiles is the number of tiles.
func (g *geometry) tiles() int { return (g.n + g.t - 1) / g.t }

// tile is the interval of tile i.
func (g *geometry) tile(i int) (t0, t1 int) { return i * g.t, min((i+1)*g.t, g.n) }

// dense reports whether every key and value of the sequence is kept in one buffer a layer: under full
// attention a tile's halo is all that came before.
func (g *geometry) dense() bool { return g.spec.Mode == s2attn.Full && (g.grows || g.tiles() > 1) }

// doc is the document that token t lies in.
func (g *geometry) doc(t int) (lo, hi int) {
	i := sort.Search(len(g.docs), func(i int) bool { return int(g.docs[i]) > t })
	return int(g.docs[i-1]), int(g.docs[i])
}

// docsOf are the boundaries of the documents that overlap [t0, t1).
func (g *geometry) docsOf(t0, t1 int) []int32 {
	a := sort.Search(len(g.docs), func(i int) bool { return int(g.docs[i]) > t0 }) - 1
	b := sort.Search(len(g.docs), func(i int) bool { return int(g.docs[i]) >= t1 })
	return g.docs[a : b+1]
}

// haloLo is the first token that queries from t on still need for a run of heads: their segment's start.
// Starts never decrease along the sequence, so what a query at t needs covers every later one.
func (g *geometry) haloLo(t int, r headRun) int {
	if t == 0 || t >= g.n {
		return t
	}
	if g.worst && g.spec.Mode != s2attn.Full {
		return max(0, t-(g.spec.Group-1))
	}
	d0, d1 := g.doc(t)
	lo := t
	for _, shifted := range []bool{false, true} {
		if shifted && r.shifted || !shifted && r.plain {
			s, _ := g.spec.Segment(t-d0, d1-d0, shifted)
			lo = min(lo, d0+s)
		}
	}
	return lo
}

// halo is the longest halo over the runs at the start of tile i.
func (g *geometry) halo(i int) int {
	t0, _ := g.tile(i)
	n := 0
	for _, r := range g.runs {
		n = max(n, t0-g.haloLo(t0, r))
	}
	return n
}

// window is the most keys that any tile's attention reads: its own and its longest halo.
func (g *geometry) window() int {
	w := 0
	for i := range g.tiles() {
		t0, t1 := g.tile(i)
		w = max(w, t1-t0+g.halo(i))
	}
	return w
}
