package model

import (
	"slices"
	"sort"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

// Batch is one micro-batch: its rows laid end to end, padding left out. One to count has empty IDs, Targets and Keys (or nil
// ones, where it is to have none): what a step takes depends on Docs alone, and a plan for 2^30 tokens needs no memory.
type Batch struct {
	IDs     []int32  // (N)
	Targets []int32  // (N) the next token, -1 where it is not scored
	Docs    []int32  // boundaries of the documents: 0 = Docs[0] < … < Docs[n] = N
	Keys    []uint64 // (N) dropout keys, nil without dropout
}

// N is the number of tokens.
func (b *Batch) N() int { return int(b.Docs[len(b.Docs)-1]) }

// Fits refuses tokens that a model of v rows has none for. Data is checked when it is opened, but its file may change.
func (b *Batch) Fits(v int) error {
	for t, id := range b.IDs {
		if uint(id) >= uint(v) {
			return errs.Dataf("token %d of a row is %d, outside the vocabulary of %d: the data changed after it was checked", t, id, v)
		}
		if b.Targets != nil && int(b.Targets[t]) >= v {
			return errs.Dataf("target %d of a row is %d, outside the vocabulary of %d: the data changed after it was checked", t, b.Targets[t], v)
		}
	}
	return nil
}

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

// geometry says how one sequence is divided.
type geometry struct {
	n, t  int // tokens of the sequence, of a tile
	docs  []int32
	worst bool     // halos as long as any cuts could make them
	grows bool     // a sequence that is appended to: see Session
	ways  []*reach // of attending, that layers have
	reach []*reach // by layer, one of ways
}

// tiles is the number of tiles.
func (g *geometry) tiles() int { return (g.n + g.t - 1) / g.t }

// tile is the interval of tile i.
func (g *geometry) tile(i int) (t0, t1 int) { return i * g.t, min((i+1)*g.t, g.n) }

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

// attend fills in how each layer attends, those without a window as spec says.
func (g *geometry) attend(d Desc, spec s2attn.Spec) *geometry {
	for l := range d.L {
		s := d.Attends(l, spec)
		i := slices.IndexFunc(g.ways, func(x *reach) bool { return x.spec == s })
		if i < 0 {
			i = len(g.ways)
			g.ways = append(g.ways, &reach{g: g, spec: s, runs: headRuns(s, d.H, d.Hkv)})
		}
		g.reach = append(g.reach, g.ways[i])
	}
	return g
}

// reach is what the tiles of a sequence need of the tokens before them, in layers that attend in one way.
type reach struct {
	g       *geometry
	spec    s2attn.Spec
	runs    []headRun
	spans   [][]span // [tile][run], followed by where kept tokens end; filled by cut, as is the next
	longest []int    // [run] the longest halo
}

// dense reports whether every key and value of the sequence is kept in one buffer a layer: under full attention a
// tile's halo is all that came before. A sequence that grows is short of nothing but time.
func (x *reach) dense() bool { return x.g.grows || x.spec.Whole() && x.g.tiles() > 1 }

// haloLo is the first token that queries from t on still need for a run of heads: the first that t sees. Starts never
// decrease along the sequence, so what a query at t needs covers every later one.
func (x *reach) haloLo(t int, r headRun) int {
	g := x.g
	if t == 0 || t >= g.n {
		return t
	}
	if g.worst && !x.spec.Whole() {
		return max(0, t-(x.spec.Reach()-1))
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

// halo is the longest halo over the runs at the start of tile i.
func (x *reach) halo(i int) int {
	t0, _ := x.g.tile(i)
	n := 0
	for _, r := range x.runs {
		n = max(n, t0-x.haloLo(t0, r))
	}
	return n
}

// window is the most keys that any tile's attention reads: its own and its longest halo.
func (x *reach) window() int {
	w := 0
	for i := range x.g.tiles() {
		t0, t1 := x.g.tile(i)
		w = max(w, t1-t0+x.halo(i))
	}
	return w
}
