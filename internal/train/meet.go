package train

import (
	"context"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/ops"
)

// Meeting is where the ranks of a group make one step of what each has computed.
type Meeting struct {
	Ranks *dist.Group
	Peaks *machine.Peaks // of all ranks, from then on
	Step  int            // that is being done
}

// Join has the steps of an engine be those of all ranks.
func (m *Meeting) Join(e *Engine) {
	if m.Ranks.Size() > 1 {
		e.Meet = func(ctx context.Context, sum float64) (float64, error) { return m.meet(ctx, e, sum) }
	}
}

// meet is Engine.Meet. From here on no rank turns back.
func (m *Meeting) meet(ctx context.Context, e *Engine, sum float64) (float64, error) {
	ps := e.Model.Params
	norm, err := ps.GradNorm() // this rank's, to know whose gradient is no number
	if err == nil {
		err = m.Peaks.Look()
	}
	if err != nil {
		return 0, err
	}
	e.Watch.Waits()
	all, err := m.Ranks.Numbers(stops(ctx), sum, norm, float64(m.Peaks.Device), float64(m.Peaks.Host))
	if err != nil {
		return 0, err
	}
	total := 0.0
	var odd error
	for rank, w := range all {
		if w[0] != 0 {
			return 0, m.canceled(e)
		}
		total += w[1]
		if err := e.CheckFinite(m.Step, w[1], w[2]); err != nil && odd == nil {
			odd = dist.Common(errs.Numericf("rank %d: %w", rank, err))
		}
		m.Peaks.Device, m.Peaks.Host = max(m.Peaks.Device, int64(w[3])), max(m.Peaks.Host, int64(w[4]))
	}
	if odd != nil {
		return 0, odd
	}
	if err := m.sum(e); err != nil {
		return 0, err
	}
	return total, m.Ranks.Fault()
}

// sum puts the sums of all ranks' gradients in the place of this rank's.
func (m *Meeting) sum(e *Engine) error {
	ps := e.Model.Params
	if own := ps.Occurred(); own != nil {
		all, err := m.Ranks.Gather(own)
		if err != nil {
			return err
		}
		for _, rows := range all {
			ps.OccurElsewhere(rows)
		}
	}
	return ps.Change(func(t ops.Tensor) error { return m.Ranks.SumOn(e.Backend, t) })
}

// canceled is the end of all ranks, once none needs another's memory.
func (m *Meeting) canceled(e *Engine) error {
	if err := e.Leave(); err != nil {
		return err
	}
	return context.Canceled
}

// stops is 1 where this rank was asked to stop.
func stops(ctx context.Context) float64 {
	if ctx.Err() != nil {
		return 1
	}
	return 0
}
