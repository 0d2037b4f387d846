package model

import (
	"iter"
	"sort"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
)

// A chain of ranks divides a sequence: each holds a span of its tokens as one tile, in the order of the ranks, and all
// work at once, layer by layer, in strips where a span is longer than the tiling's tile (strip.go). What a span's
// queries see of earlier tokens is its halo, as any tile's; the geometry is that of the whole sequence.

// Division is a rank's place in a chain.
type Division struct {
	Rank, Size int
	Link       ops.Link // nil where work is only counted
}

// over reports whether there are several ranks.
func (d Division) over() bool { return d.Size > 1 }

// divide cuts the sequence into a span for each rank of the chain, of which this rank has one; where there are fewer
// tokens than ranks the last ones have none. Spans take about equal time. With backward it is that of a step.
func (g *geometry) divide(div Division, d Desc, spec s2attn.Spec, backward bool) {
	s := min(div.Size, g.n)
	w := newWork(g, d, spec, backward)
	g.cuts = append(g.cuts[:0], 0)
	for r := 1; r < s; r++ {
		least, most := g.cuts[r-1]+1, g.n-(s-r)
		t := w.upTo(float64(r) / float64(s))
		g.cuts = append(g.cuts, min(max(t, least), most))
	}
	g.cuts = append(g.cuts, g.n)
	strip := g.t
	g.own, g.t = div.Rank, 0
	for i := range s {
		t0, t1 := g.tile(i)
		g.t = max(g.t, t1-t0)
	}
	if strip < g.t {
		g.strip = strip
	}
	if g.worst { // shorter sequences are cut at other places
		g.t++
	}
}

// work is the work of a sequence's tokens: the same of each, and more the more keys a token sees in layers that attend
// fully, in operations of a layer's products.
type work struct {
	g    *geometry
	each float64 // of a token
	key  float64 // of a key that a token sees in such layers
}

// Attention's backward pass is two and a half times its forward pass, a frozen layer's products take as long both ways;
// on a GPU attention's operations take a fifth longer.
const (
	attendForward  = 1.2
	attendBackward = 1.2 * 3.5 / 2
)

func newWork(g *geometry, d Desc, spec s2attn.Spec, backward bool) work {
	w := work{g: g, each: 2 * float64(d.V) * float64(d.C)}
	by := 4 * float64(d.H*d.D) * attendForward
	if backward {
		by = 4 * float64(d.H*d.D) * attendBackward
	}
	for l := range d.L {
		for r := range linears {
			if d.Has(r) {
				out, in := d.Dims(r)
				w.each += 2 * float64(out) * float64(in)
			}
		}
		if s := d.Attends(l, spec); s.Whole() {
			w.key += by
		} else {
			w.each += by * float64(min(s.Reach(), g.n)) / 2
		}
	}
	return w
}

// before is the work of the tokens [0, t).
func (w work) before(t int) float64 {
	n := w.each * float64(t)
	if w.key == 0 {
		return n
	}
	docs := w.g.docs
	if w.g.worst { // what is planned is a sequence without cuts, of which the first span is the longest
		docs = []int32{0, int32(w.g.n)}
	}
	for i := 0; i+1 < len(docs) && int(docs[i]) < t; i++ {
		k := float64(min(t, int(docs[i+1])) - int(docs[i]))
		n += w.key * k * (k + 1) / 2
	}
	return n
}

// upTo is the token up to which a share of the work lies.
func (w work) upTo(share float64) int {
	if w.key == 0 {
		return int(share*float64(w.g.n) + 0.5)
	}
	all := w.before(w.g.n)
	return sort.Search(w.g.n, func(t int) bool { return w.before(t) >= share*all })
}

// Spans are the lengths of the spans of a sequence of n tokens, in one document, that a chain of so many ranks divides.
func Spans(d Desc, spec s2attn.Spec, b *Batch, size int, backward bool) []int {
	g := &geometry{n: b.N(), docs: b.Docs}
	g.divide(Division{Size: size}, d, spec, backward)
	var out []int
	for i := range g.tiles() {
		t0, t1 := g.tile(i)
		out = append(out, t1-t0)
	}
	return out
}

// cellsOf is a step of the tile that is a rank's span.
func cellsOf(tile, layers int) iter.Seq[cell] {
	return func(yield func(cell) bool) {
		for l := range layers {
			if !yield(cell{keeping, tile, l}) {
				return
			}
		}
		for l := layers - 1; l >= 0; l-- {
			if !yield(cell{back, tile, l}) {
				return
			}
		}
	}
}
