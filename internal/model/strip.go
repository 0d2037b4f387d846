package model

import "longlora/internal/ops"

// A rank goes through its span layer by layer, as the chain does: in tile after tile through all layers, as one process
// goes through a row, each rank would wait for the one before it to be done with its whole span. So what --tile says of
// a span is how much of it a layer works on at a time, a strip. What lasts from one layer to the next, and the window
// of the layer's keys and values, are as long as the span; all else is as long as a strip. Messages know nothing of
// strips.

// strips does f for each strip of the tile, from the first on: all of it at once where it is no span, or a short one.
func (p *pass) strips(f func()) {
	n := p.at.t1 - p.at.t0
	rows := n
	if p.g.strip > 0 {
		rows = p.g.strip
	}
	for lo := 0; lo < n; lo += rows {
		p.lo, p.hi = lo, min(lo+rows, n)
		f()
	}
	p.lo, p.hi = 0, n
}

// ends reports whether the strip is the tile's last.
func (p *pass) ends() bool { return p.hi == p.at.t1-p.at.t0 }

// of are the strip's rows of what is as long as the tile.
func (p *pass) of(x ops.Tensor) ops.Tensor { return x.Rows(p.lo, p.hi) }

// lasts reports whether x has room for all strips, and is not made for one after the other in the same place.
func (g *geometry) lasts(x ops.Tensor) bool { return x.Dim(0) > g.strip }

// view is a layer's activations of the strip.
func (p *pass) view(s *saved) *saved {
	if p.g.strip == 0 {
		return s
	}
	y, t := *s, p.ids.Elems()
	for x := range parts {
		for _, z := range y.part(x) {
			if !z.None() && p.g.lasts(*z) {
				*z = p.of(*z)
			}
		}
	}
	flat := func(z *ops.Tensor) {
		if !z.None() {
			each := z.Elems() / t
			*z = z.Rows(p.lo*each, p.hi*each)
		}
	}
	flat(&y.lse)
	for i := range y.stat {
		flat(&y.stat[i])
	}
	for i := range y.xa {
		flat(&y.xa[i])
	}
	return &y
}

// sees are the tokens whose keys some query of the strip sees in a layer, where the window begins at token k0.
func (p *pass) sees(l, k0 int) span {
	t := p.at.t0 + p.lo
	s := span{k0, p.at.t0 + p.hi}
	if x := p.g.reach[l]; p.g.strip > 0 {
		s.lo = t
		for _, run := range x.runs {
			s.lo = min(s.lo, x.haloLo(t, run))
		}
	}
	return s
}

// keepOf is what layer l keeps. Of a span in strips the last layer's backward pass does not follow its forward pass.
func (p *pass) keepOf(l int) Keep {
	if p.g.strip > 0 && l == p.r.M.L-1 {
		return p.r.Keep
	}
	return p.r.KeepOf(l, p.r.M.L)
}
