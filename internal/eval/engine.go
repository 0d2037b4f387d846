package eval

import (
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/s2attn"
)

// engine is one model in a backend's memory, loaded when it is first wanted and used at every length.
type engine struct {
	be      ops.Backend
	base    *load.Base
	train   model.Train
	planner plan.Planner
	stream  *int // layers to stream the weights of, nil: the planner's choice

	model   *model.Model
	weights *plan.ModelRoom
}

func newEngine(be ops.Backend, base *load.Base, memory plan.Memory, stream *int) (e *engine, err error) {
	e = &engine{be: be, base: base, train: base.Frozen(), stream: stream}
	e.planner, err = plan.Here(memory, machine.Here(be))
	return e, err
}

func (e *engine) close() {
	if e.model != nil {
		_ = e.model.Release() // what fails here fails again, and is seen, where memory is next taken
	}
	if e.weights != nil {
		e.weights.Free(e.be)
	}
	e.model, e.weights = nil, nil
}

// work is what n tokens are to the planner.
func (e *engine) work(k plan.Kind, n int, spec s2attn.Spec) plan.Work {
	w := plan.Work{Kind: k, Desc: e.base.Desc(), Train: e.train, Weight: e.base.Format, Spec: spec, Ctx: n, Batch: 1,
		IDs: 12 * int64(n), Forced: plan.Forced{Stream: e.stream}}
	if e.model != nil { // as it is loaded
		w.Forced.Stream = &e.weights.Stream
	}
	w.Made = e.base.Made(e.planner.OnHost)
	return w
}

// run takes the memory for what is asked and calls f with a runner in it.
func (e *engine) run(r plan.Request, spec s2attn.Spec, rp model.Rope, f func(*model.Runner) error) error {
	pl, err := e.planner.Plan(r)
	if errs.Code(err) == int(errs.NoFit) && e.model != nil { // it may where another number of layers is streamed
		e.close()
		pl, err = e.planner.Plan(r)
	}
	if err != nil {
		return err
	}
	if e.model == nil {
		if e.weights, err = plan.NewModelRoom(e.be, pl, nil); err != nil {
			return err
		}
		if e.model, err = e.base.New(e.be, e.train, e.weights.Memory, 0); err != nil {
			return err
		}
	}
	act, err := ops.NewArena(e.be, "activations", ops.Device, pl.Act)
	if err != nil {
		return err
	}
	defer act.Free(e.be)
	halo, err := ops.NewArena(e.be, "halos", ops.Host, pl.Halo)
	if err != nil {
		return err
	}
	defer halo.Free(e.be)
	return proc.Intact(func() error { return f(model.NewRunner(e.model, e.be, spec, rp, pl.Tiling, act, halo)) })
}
