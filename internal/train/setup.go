package train

import (
	"context"
	"io"
	"runtime/debug"
	"slices"

	"longlora/internal/ckpt"
	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/tokenizer"
	"longlora/internal/ui"
)

// setup is everything about a run that is known before its first step.
type setup struct {
	c       *Options
	be      ops.Backend
	machine machine.Machine
	base    *load.Base
	pos     load.Positions
	tok     *tokenizer.Tokenizer
	set     *data.Set
	evalSet *data.Set // of --eval-data
	order   *data.Order
	tr      model.Train
	steps   int
	lr      float64 // the full rate of the factors, or of every weight
	lrEmbed float64 // of embedding, norms and head
	planner plan.Planner
	request plan.Request
	work    plan.Work
	plan    plan.Plan
}

// newSetup opens and checks everything that the options name. The plan is made later: see choose.
func newSetup(ctx context.Context, c *Options, be ops.Backend, log io.Writer) (*setup, error) {
	s := &setup{c: c, be: be, machine: machine.Here(be)}
	if err := s.open(ctx, log); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *setup) close() {
	if s.base != nil {
		s.base.Close()
	}
	for _, set := range []*data.Set{s.set, s.evalSet} {
		if set != nil {
			set.Close()
		}
	}
}

func (s *setup) open(ctx context.Context, log io.Writer) error {
	if err := s.openBase(); err != nil {
		return err
	}
	var err error
	c := s.c
	if s.pos, err = s.base.Place(c.Adapter, c.Positions.At(c.Ctx)); err != nil {
		return err
	}
	if s.tr, err = c.Trains(s.base, s.base.Desc()); err != nil {
		return err
	}
	if err := s.openData(ctx, log); err != nil {
		return err
	}
	if s.steps = c.Steps; s.steps == 0 {
		epochs := c.Epochs
		if epochs == 0 {
			epochs = 1
		}
		const most = 1 << 50
		rows := data.CeilOf(epochs, int64(s.order.Rows()), most) // ⌈⌈x⌉/n⌉ = ⌈x/n⌉ for whole n
		if rows == most {
			return errs.Usagef("%s %g of %s are more than 2^50 rows; give fewer", errs.Option("epochs"), epochs,
				ui.Count(s.order.Rows(), "row"))
		}
		per := int64(c.Batch) * int64(c.Accum)
		s.steps = int((rows + per - 1) / per)
	}
	s.lr, s.lrEmbed = c.RatesFor(s.base.Desc().C, s.steps)
	return s.pose()
}

// openBase opens the model, refusing to write over it.
func (s *setup) openBase() error {
	c := s.c
	var err error
	if c.Random {
		s.base, err = load.OpenConfig(c.Model, "")
	} else {
		s.base, err = load.Open(c.Model, c.Adapter)
	}
	if err != nil {
		return err
	}
	if err := s.base.Apart(c.Out, c.Adapter); err != nil {
		return err
	}
	if c.Tune == "full" {
		if err := ckpt.CanCarry(s.base.Dir); err != nil {
			return err
		}
	}
	if err := s.base.ChooseWindow(c.Window, c.Adapter); err != nil {
		return err
	}
	if c.Tune != "full" {
		if err := s.base.ChooseWeights(c.Weights, c.Adapter, false); err != nil {
			return err
		}
	}
	return s.base.ChooseProducts(c.Products, &s.machine)
}

// openData reads and packs the rows, and those for validation.
func (s *setup) openData(ctx context.Context, log io.Writer) error {
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // reading makes much garbage and keeps little
	c := s.c
	o, tok, err := load.Documents(s.base.Dir, s.base.Config.V, s.base.Config.EOS, c.Documents)
	if err != nil {
		return err
	}
	s.tok = tok
	if o.HostMem, err = c.Memory.HostLimit(); err != nil {
		return err
	}
	o.Paths, o.Pack, o.Ctx, o.Overlong, o.HoldDocs, o.Log = c.Data, c.Pack, c.Ctx, c.Overlong, c.HoldDocs, log
	if s.set, err = data.Open(ctx, o); err != nil {
		return err
	}
	if c.Rolls() && (s.set.Cut() || s.set.Padded()) {
		return errs.Usagef("%s roll: rows must be uncut, and examples are packed apart; use %s concat", errs.Option("shift"),
			errs.Option("pack"))
	}
	if c.EvalFraction > 0 {
		if err := s.set.HoldOut(c.EvalFraction); err != nil {
			return err
		}
	}
	if len(c.EvalData) > 0 {
		o.Paths, o.Option, o.HoldDocs = c.EvalData, "eval-data", 0
		if s.evalSet, err = data.Open(ctx, o); err != nil {
			return err
		}
		if w := s.evalSet.Weights(); slices.Max(w) > 0 {
			return errs.Usagef("%s: a weight is for %s; all rows are validated on", errs.Option("eval-data"),
				errs.Option("data"))
		}
	}
	s.order = data.NewOrder(s.set, c.Seed, c.Shuffle)
	if s.order.Rows() == 0 {
		return errs.Dataf("%s: no rows are left to train on", errs.Option("data"))
	}
	return nil
}

// evalRows are the rows for validation.
func (s *setup) evalRows() (n int, row func(i int) data.Row) {
	if s.evalSet != nil {
		return s.evalSet.Rows(), s.evalSet.Row
	}
	return s.set.Held(), func(i int) data.Row { return s.set.Row(s.set.Rows() + i) }
}

// pose states the planner's problem.
func (s *setup) pose() (err error) {
	if p, rows := s.c.Ranks.Chains(), s.c.Batch*s.c.Accum; rows%p != 0 {
		return errs.Usagef("%s %d times %s %d are %d rows a step, which %s can not share evenly; give another %s",
			errs.Option("batch"), s.c.Batch, errs.Option("accum"), s.c.Accum, rows, processes(p, s.c.Ranks.Divided()),
			errs.Option("accum"))
	}
	if s.planner, err = plan.Here(s.c.Memory, s.machine); err != nil {
		return err
	}
	s.request = s.c.Request(func(c plan.Training) (plan.Work, error) {
		c.Steps, c.Processes = s.steps, s.c.Ranks.Size()
		w, err := c.Of(s.base, s.planner.OnHost)
		w.Cuts = w.Cut(s.set.Cut(), s.set.Padded())
		w.IDs += s.order.Bytes()
		return w, err
	})
	s.work, err = s.request.At(s.c.Ctx)
	return err
}

// anew goes on from a saved run with another plan than it had.
var anew = errs.Advice{{Option: "replan", Value: "true"}}

// choose makes the plan, or takes the saved one when it still fits.
func (s *setup) choose(saved *plan.Plan, replan bool) error {
	var err error
	if n := s.work.Forced.Shard; saved != nil && n != nil && *n > 0 && s.work.Peers < 2 {
		return errs.Usagef("%s on divides weights among the processes of a machine, as the saved run's were, and %s. To go "+
			"on with a new plan and other last bits: %w", errs.Option("shard-weights"), s.work.Alone(),
			slices.Concat(errs.Advice{{Option: "shard-weights", Value: "auto"}}, anew))
	}
	if saved == nil || replan {
		s.plan, err = s.planner.Plan(s.request)
		return err
	}
	if s.plan, err = s.planner.Again(s.work, *saved); err != nil {
		return err
	}
	if !s.planner.Allows(s.plan) {
		return errs.NoFitf("the saved plan (tile %d, keeping %s) needs %s; raise the limits, or accept a new plan and other "+
			"last bits: %w", s.plan.Tile, s.plan.Kept(), s.planner.Needs(s.plan), anew)
	}
	return nil
}

// fullSteps is how many steps at the run's end attend fully.
func (s *setup) fullSteps() int { return s.c.FullSteps(s.steps) }

// engine takes the memory and loads the weights.
func (s *setup) engine() (*Engine, error) {
	e, err := NewEngine(s.be, s.work, s.plan, s.c.Ranks, s.base, s.base.Rope(s.pos.Positions, s.c.Ctx), s.c.Seed)
	if err == nil {
		e.Suspects, e.Watch = s.c.Suspects(s.base.Desc().C), s.c.Watch
	}
	return e, err
}
