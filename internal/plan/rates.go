package plan

import (
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Seconds predicts an optimizer step of accum micro-batches.
func (p Plan) Seconds(r ops.Rates, accum int) float64 {
	return float64(accum)*r.Seconds(p.Cost) + r.Seconds(p.Optimizer)
}

// StepFlops counts the operations that one optimizer step needs on one row of n tokens, as figures of speed do: see
// ops.Cost.Figure. Nothing is made again, so the row is one tile of which all is kept.
func StepFlops(d model.Desc, n int, spec s2attn.Spec) (float64, error) {
	z, err := newCounted(problem{Work: Work{Desc: d, Weight: model.AllIn(tensor.Dense(tensor.F32)), Spec: spec, Ctx: n,
		Batch: 1}})
	if err != nil {
		return 0, err
	}
	return z.cost(model.Tiling{Tile: n, Keep: model.KeepAll, MLPRows: n, HeadRows: n}, z.batch).Figure, nil
}
