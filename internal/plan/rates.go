package plan

import (
	"longlora/internal/model"
	"longlora/internal/ops"
)

// Seconds predicts an optimizer step of accum micro-batches.
func (p Plan) Seconds(r ops.Rates, accum int) float64 {
	return float64(accum)*r.Seconds(p.Cost) + r.Seconds(p.Optimizer)
}

// StepFlops counts the operations that one optimizer step needs on one row with frozen weights, nothing made
// again: 4 a parameter and token for the linear layers and the head, and attention over half a group's keys, in layers
// with a sliding window over the window's, forward and 2.5 times that backward. LoRA's own terms are left out (below 1 %).
func StepFlops(d model.Desc, n, group int) float64 {
	p := d.L*(2*d.C*d.H*d.D+2*d.C*d.Hkv*d.D+3*d.C*d.F) + d.C*d.V
	keys := float64(d.L-d.Windowed()) * float64(group) / 2 // that a token sees on average, of all layers
	for _, w := range d.Windows {
		w := float64(min(w, n))
		keys += w - w*w/float64(2*n) // the first w tokens see half of it
	}
	return 4*float64(p)*float64(n) + float64(d.H)*float64(n)*keys*4*float64(d.D)*3.5
}
