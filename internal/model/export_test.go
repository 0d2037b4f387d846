package model

import "longlora/internal/ops"

// Apart gives every name of a pass memory of its own.
func (r *Runner) Apart() { r.apart = true }

// Streams runs a batch that is one tile forward and back, and shows the residual stream before each layer and after the
// last, then its gradient there and before each layer, the last first.
func (r *Runner) Streams(b *Batch, scale float32, see func(x ops.Tensor)) {
	r.frame(b, true, func(p *pass) {
		p.scale = scale
		for c := range stepCells(1, r.M.L) {
			r.run(p, func(yield func(cell) bool) { yield(c) })
			if c.phase == back {
				see(p.dx.Rows(0, p.n()))
				continue
			}
			if see(p.layers[c.layer].xin.Rows(0, p.n())); c.layer == r.M.L-1 {
				see(p.x0.Rows(0, p.n()))
				see(p.dx.Rows(0, p.n()))
			}
		}
	})
}
