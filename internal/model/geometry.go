package model

import (
	"slices"
	"sort"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

// Batch is one micro-batch: its rows laid end to end, padding left out. One to count has empty IDs, Targets and Keys
// (or nil ones, where it is to have none): what a step takes depends on Docs alone, and a plan for 2^30 tokens needs no
// memory.
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
			return errs.Dataf("token %d of a row is %d, outside the vocabulary of %d: the data changed after it was checked", t,
				id, v)
		}
		if b.Targets != nil && int(b.Targets[t]) >= v {
			return errs.Dataf("target %d of a row is %d, outside the vocabulary of %d: the data changed after it was checked", t,
				b.Targets[t], v)
		}
	}
	return nil
}

// geometry says how one sequence is divided.
type geometry struct {
	n, t  int // tokens of the sequence, of a tile
	docs  []int32
	cuts  []int    // where tiles begin, and n, where ranks have one each; nil: every t tokens
	own   int      // then this rank's tile
	strip int      // and so many tokens of it are worked on at a time; 0: all
	worst bool     // halos as long as any cuts could make them
	grows bool     // a sequence that is appended to: see Session
	ways  []*reach // of attending, that layers have
	reach []*reach // by layer, one of ways
}

// tiles is the number of tiles.
func (g *geometry) tiles() int {
	if g.cuts != nil {
		return len(g.cuts) - 1
	}
	return (g.n + g.t - 1) / g.t
}

// tile is the interval of tile i.
func (g *geometry) tile(i int) (t0, t1 int) {
	if g.cuts != nil {
		return g.cuts[i], g.cuts[i+1]
	}
	return i * g.t, min((i+1)*g.t, g.n)
}

// divided reports whether the tiles are those of ranks.
func (g *geometry) divided() bool { return g.cuts != nil }

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
			g.ways = append(g.ways, newReach(g, s, headRuns(s, d.H, d.Hkv)))
		}
		g.reach = append(g.reach, g.ways[i])
	}
	return g
}
