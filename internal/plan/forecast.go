package plan

import (
	"longlora/internal/model"
	"longlora/internal/ops"
)

// Forecast predicts how many seconds scoring a row, or reading a session's prompt, of w.Ctx tokens takes when it is
// carried out by a tiling, at the rates that this machine's predictions are made with.
func (p Planner) Forecast(w Work, tl model.Tiling) (float64, error) {
	rates, err := p.Predicting()
	if err != nil {
		return 0, err
	}
	z, err := newCounted(problem{w, p})
	if err != nil {
		return 0, err
	}
	r := z.runner(w.Spec, tl, ops.CountingArena("activations", ops.Device), ops.CountingArena("halos", ops.Host))
	z.c.Restart()
	if w.Kind == Session {
		s := r.NewSession(w.Ctx)
		defer s.Close()
		err = s.Append(make([]int32, w.Ctx)...)
	} else {
		_, err = r.Score(z.row)
	}
	return rates.Seconds(z.c.Restart()), err
}
