package train

import (
	"context"
	"fmt"
	"math"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/s2attn"
	"longlora/internal/ui"
)

// Engine carries out optimizer steps on one backend by one plan. Train and bench share it.
type Engine struct {
	Backend ops.Backend
	Model   *model.Model
	Runner  *model.Runner
	Scorers map[s2attn.Mode]*model.Runner // ways of attending that rows can be scored with
	// Meet, where there are other ranks, makes their loss and gradients of this rank's: it takes the sum of this rank's
	// losses and returns all ranks', and has the slab of gradients summed up. Where one of them stops all get
	// context.Canceled, and from then on no stop is heeded, so that all do the step or none does.
	Meet     func(ctx context.Context, sum float64) (float64, error)
	Suspects string      // options that alone may make numbers overflow; "" for none
	Watch    *dist.Watch // is told of each micro-batch; nil where nobody is

	chain     *dist.Chain // of ranks that divide each row; nil without
	weights   *plan.ModelRoom
	act, halo *ops.Arena
	work      plan.Work
	plan      plan.Plan
	rope      model.Rope
	last      bool
}

// Weights make a model in memory; load.Base does.
type Weights interface {
	New(be ops.Backend, tr model.Train, mem model.Memory, seed uint64) (*model.Model, error)
}

// NewEngine takes the memory that the plan counted and loads the weights, of which the ranks of g on one machine have
// parts where the plan says so. Where ranks divide rows this one is joined to its neighbours.
func NewEngine(b ops.Backend, w plan.Work, pl plan.Plan, g *dist.Group, base Weights, rope model.Rope,
	seed uint64) (*Engine, error) {
	room := pl.Room()
	// Taking more than there is would end the process without a word.
	if free, err := machine.HostAvailable(); err == nil && room.Host-room.Base > free {
		return nil, errs.NoFitf("the plan takes %s of host memory%s besides what the process has, and %s are available; "+
			"lower %s, or end what else uses memory", ui.Bytes(room.Host-room.Base), g.Each(), ui.Bytes(free),
			errs.Option("host-mem"))
	}
	e := &Engine{Backend: b, chain: g.NewChain(b), work: w, plan: pl, rope: rope}
	var err error
	if e.weights, err = plan.NewModelRoom(b, room, g); err == nil {
		e.act, err = ops.NewArena(b, "activations", ops.Device, room.Act)
	}
	if err == nil {
		e.halo, err = ops.NewArena(b, "halos and moved activations", ops.Host, room.Halo+room.MovedBytes)
	}
	if err == nil {
		e.Model, err = base.New(b, w.Train, e.weights.Memory, seed)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	e.attend(w, pl)
	return e, nil
}

// Enter has what follows attend as the run's last steps do, or as its first ones. It is for the time between steps, and
// waits until nothing that is begun needs the memory.
func (e *Engine) Enter(last bool) error {
	if last == e.last {
		return nil
	}
	if err := e.Backend.Sync(); err != nil {
		return err
	}
	e.last = last
	if last {
		e.attend(e.work.AsLast(), *e.plan.Last)
	} else {
		e.attend(e.work, e.plan)
	}
	return nil
}

// attend makes the runners of one way of attending, in the memory of those before.
func (e *Engine) attend(w plan.Work, pl plan.Plan) {
	e.act.Release(0)
	e.halo.Release(0)
	runner := func(spec s2attn.Spec) *model.Runner {
		r := model.NewRunner(e.Model, e.Backend, spec, e.rope, pl.Tiling, e.act, e.halo)
		r.Worst = w.Cuts
		if e.chain != nil {
			rank, size := e.chain.Place()
			r.Division = model.Division{Rank: rank, Size: size, Link: e.chain}
		}
		return r
	}
	e.Runner, e.Scorers = runner(w.Spec), map[s2attn.Mode]*model.Runner{}
	for _, s := range w.Score {
		e.Scorers[s.Mode] = runner(s)
	}
}

// Traffic is what this rank has exchanged so far, and what it has read of the others' weights.
func (e *Engine) Traffic(g *dist.Group) dist.Traffic {
	t := g.Traffic()
	if p := e.weights.Parts; p != nil {
		t.Weights.Received = float64(p.Read)
	}
	return t
}

// Leave waits until no rank reads another's memory any more. All ranks call it together, before they close.
func (e *Engine) Leave() error {
	e.Watch.Waits()
	defer e.Watch.Mark()
	return e.weights.Regions.Leave()
}

// Close gives the memory back.
func (e *Engine) Close() {
	e.chain.Close()
	if e.Model != nil {
		_ = e.Model.Release() // what fails here fails again, and is seen, where memory is next taken
	}
	for _, a := range []*ops.Arena{e.act, e.halo} {
		if a != nil {
			a.Free(e.Backend)
		}
	}
	if e.weights != nil {
		e.weights.Free(e.Backend)
	}
}

// Gradients computes a step's loss, the mean over its scored tokens, and the gradient's L2 norm, from n
// micro-batches; scored is the number of scored tokens in all of them. Parameters are not touched, so that a
// cancelled step leaves no trace.
func (e *Engine) Gradients(ctx context.Context, n int, micro func(a int) *model.Batch, scored int) (loss, norm float64,
	err error) {
	defer e.Runner.Heed(ctx)()
	e.Model.Params.ZeroGrad()
	for a := 0; a < n; a++ {
		e.Watch.Waits()
		on, err := e.chain.Begin(ctx.Err() == nil)
		if err != nil {
			return 0, 0, err
		}
		e.Watch.Mark()
		if !on {
			break
		}
		b := micro(a)
		if err := b.Fits(e.Model.V); err != nil {
			return 0, 0, err
		}
		e.Runner.Step(b, float32(1/float64(scored)))
	}
	sum, err := e.Runner.Loss() // also of a cancelled step, whose losses must not count for the next one
	if err == nil && e.Meet != nil {
		sum, err = e.Meet(ctx, sum)
	}
	if err != nil {
		return 0, 0, err
	}
	e.Watch.Mark()
	norm, err = e.Model.Params.GradNorm()
	if e.Meet == nil && ctx.Err() != nil { // nothing that was computed since counts
		return 0, 0, ctx.Err()
	}
	return sum / float64(scored), norm, err
}

// CheckFinite is the error for a step whose loss or gradient norm is no number.
func (e *Engine) CheckFinite(step int, loss, norm float64) error {
	switch {
	case !finite(loss):
		return errs.Numericf("step %d: the loss is %g; the update was not applied. %s", step, loss, e.mend())
	case !finite(norm):
		return errs.Numericf("step %d: the gradient's norm is %g (loss %g); the update was not applied. %s", step, norm, loss,
			e.mend())
	}
	return nil
}

// checkEval is the error for a validation whose loss is no number.
func (e *Engine) checkEval(step int, loss float64) error {
	if finite(loss) {
		return nil
	}
	return errs.Numericf("step %d: the validation loss is %g. %s", step, loss, e.mend())
}

// mend is what to do about numbers that are none.
func (e *Engine) mend() string {
	if e.Suspects != "" {
		return "Lower " + e.Suspects
	}
	return fmt.Sprintf("Check the weights for NaN or Inf, or lower %s", errs.Option("lr"))
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Clip is the factor that gradients are scaled by: min(1, limit/(norm+1e-6)), 1 where the limit is 0.
func Clip(norm, limit float64) float64 {
	if limit == 0 {
		return 1
	}
	return min(1, limit/(norm+1e-6))
}
