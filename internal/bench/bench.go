// Package bench measures the optimizer steps of train on random weights.
package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"sort"
	"time"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/rope"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// Result is what one shape and context took under one attention. Operations are counted without anything that is made
// again.
type Result struct {
	Shape      string     `json:"shape"`
	Ctx        int        `json:"ctx"`
	Attn       string     `json:"attn"`
	Group      int        `json:"group"`
	Tile       int        `json:"tile"`
	Device     string     `json:"device"`
	DType      string     `json:"dtype"`
	SPerStep   float64    `json:"s_per_step"` // the median
	Spread     [2]float64 `json:"spread"`     // the fastest and the slowest
	TokPerS    float64    `json:"tok_per_s"`
	TFLOPS     float64    `json:"tflops"`
	MFU        float64    `json:"mfu"`
	DevicePeak int64      `json:"device_peak_bytes"`
	DevicePlan int64      `json:"device_plan_bytes"`
	HostPeak   int64      `json:"host_peak_bytes"`
	HostPlan   int64      `json:"host_plan_bytes"`
	Ranks      int        `json:"ranks"` // that share a step; speeds are all of theirs, memory the largest of any
	Rows       int        `json:"rows"`  // of a step
	// What a rank exchanged in a step, of each the most of any rank; nil for one alone.
	Traffic *dist.Traffic `json:"traffic,omitempty"`
}

// Options are what is measured.
type Options struct {
	Shape         string
	At            []train.Options // one a context; of a group's, all ranks have the same
	OneEach       bool            // each rank, or chain of them, does one row a step; else they divide a batch's rows
	Steps, Warmup int             // that are measured, and before them
}

// Run measures real optimizer steps on random weights, of one micro-batch a rank, or a chain of them. What a rank of a
// group returns is rank 0's.
func Run(ctx context.Context, c Options, be ops.Backend, log io.Writer) ([]Result, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(train.GCPercent))
	d, err := plan.Shape(c.Shape)
	if err != nil {
		return nil, err
	}
	m := machine.Here(be)
	free, err := machine.HostAvailable()
	if err != nil {
		free = math.MaxInt64 // where the system does not say it, it must say no by itself
	}
	note, err := load.CheckProducts(c.At[0].Products, c.At[0].Weights, &m)
	if err != nil {
		return nil, err
	}
	if note != "" {
		fmt.Fprintf(log, "note: %s\n", note)
	}
	// A device copies every layer's weights for itself, so the copies may come from one layer's.
	weights := load.NewStandIn(d, m.OnHost, c.At[0].Weights)
	if n := weights.Size() * int64(max(1, c.At[0].Memory.Machine)); n > free {
		return nil, errs.NoFitf("random weights of this shape take %s of host memory, %s are available; measure a smaller "+
			"%s, or on a GPU", ui.Bytes(n), ui.Bytes(free), errs.Option("shape"))
	}
	rates, err := m.Predicting()
	if err != nil {
		return nil, err
	}
	peak := m.Peak
	if m.OnHost {
		peak = rates.Linear
		fmt.Fprintf(log, "mfu is counted against this machine's measured product rate, %.0f GFLOP/s: a CPU has no bf16 "+
			"datasheet rate\n", peak/1e9)
	} else if peak == 0 {
		fmt.Fprintf(log, "note: no datasheet rate is known for %s: mfu is given as 0\n", m.Chip)
	} else {
		fmt.Fprintf(log, "mfu is counted against the %s's dense bf16 datasheet rate, %.0f TFLOP/s; all layers have equal "+
			"random weights, each its own copy\n", m.Chip, peak/1e12)
	}
	var all []bench
	for i := range c.At {
		if chains := c.At[i].Ranks.Chains(); !c.OneEach {
			c.At[i].Batch /= chains
		}
		c.At[i].Accum = c.At[i].Ranks.Chains() // so many such batches are a step
		b := bench{name: c.Shape, c: &c.At[i], d: d, be: be, machine: m, rates: rates, weights: weights, steps: c.Steps,
			warmup: c.Warmup, log: log}
		if _, _, _, err := b.plan(weights.Size()); err != nil { // before minutes are spent on weights
			return nil, err
		}
		all = append(all, b)
	}
	if err := weights.Fill(c.At[0].Seed); err != nil {
		return nil, err
	}
	defer weights.Close()
	var out []Result
	for _, b := range all {
		rs, err := b.measure(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range rs {
			if peak > 0 {
				r.MFU = r.TFLOPS * 1e12 / peak / float64(r.Ranks)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// bench is one measurement.
type bench struct {
	name          string
	c             *train.Options
	d             model.Desc
	be            ops.Backend
	machine       machine.Machine
	rates         ops.Rates
	weights       *load.StandIn
	steps, warmup int
	log           io.Writer
}

// plan plans a step, or refuses with what would fit. coming is memory that the weights will still take.
func (b *bench) plan(coming int64) (p plan.Planner, w plan.Work, pl plan.Plan, err error) {
	if p, err = plan.Here(b.c.Memory, b.machine); err != nil {
		return p, w, pl, err
	}
	if b.c.Memory.Host == nil {
		p.Limits.Host -= coming / 5 * 4 // as what is available is counted
	}
	r := b.c.Request(func(t plan.Training) (plan.Work, error) {
		w, err := t.Stated(b.d, b.machine.OnHost)
		w.Made = b.weights.Made()
		return w, err
	})
	if w, err = r.At(b.c.Ctx); err != nil {
		return p, w, pl, err
	}
	pl, err = p.Together(b.c.Ranks, r)
	return p, w, pl, err
}

// measure measures steps, and of a run whose last steps attend fully those too, each by its plan and in room for both.
func (b *bench) measure(ctx context.Context) ([]Result, error) {
	p, w, pl, err := b.plan(0)
	if err != nil {
		return nil, err
	}
	for _, note := range b.c.MemoryNotes(b.machine) {
		fmt.Fprintf(b.log, "note: %s\n", note)
	}
	inv, scale := rope.Default(b.d.RotaryDim())
	e, err := train.NewEngine(b.be, w, pl, b.c.Ranks, b.weights, model.Rope{Inv: inv, Scale: scale}, b.c.Seed)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	e.Suspects = b.c.Suspects(b.d.C)
	first, room := pl, pl.Room()
	first.Last = nil
	fmt.Fprintf(b.log, "%s ctx %d: %s\n", b.name, b.c.Ctx, p.Needs(pl))
	r, err := b.measured(ctx, e, w, first, room)
	all := []Result{r}
	if err == nil && pl.Last != nil {
		if err = e.Enter(true); err == nil {
			r, err = b.measured(ctx, e, w.AsLast(), *pl.Last, room)
			all = append(all, r)
		}
	}
	if err == nil {
		err = e.Leave()
	}
	return all, err
}

// measured measures the steps that the engine does now.
func (b *bench) measured(ctx context.Context, e *train.Engine, w plan.Work, pl, room plan.Plan) (Result, error) {
	fmt.Fprintf(b.log, "%s ctx %d, %s: %s, MLP by %d rows, logits by %d\n", b.name, b.c.Ctx, w.Attn(), pl.How(),
		pl.MLPRows, pl.HeadRows)
	var times []float64
	var before dist.Traffic
	g, peaks := b.c.Ranks, machine.Peaks{Machine: b.machine}
	meeting := train.Meeting{Ranks: g, Peaks: &peaks}
	meeting.Join(e)
	rows := load.Batches{Seed: b.c.Seed, Drop: w.Train.Drop > 0}
	for i := range b.warmup + b.steps {
		if i == b.warmup {
			before = e.Traffic(g)
		}
		begun := time.Now()
		meeting.Step = i + 1
		if err := b.step(ctx, e, &rows, i+1); err != nil {
			return Result{}, err
		}
		sec := time.Since(begun).Seconds()
		if err := peaks.Look(); err != nil {
			return Result{}, err
		}
		if i >= b.warmup {
			times = append(times, sec)
		}
	}
	sort.Float64s(times)
	s, n := (times[(len(times)-1)/2]+times[len(times)/2])/2, b.c.Batch*g.Chains()
	flops, err := plan.StepFlops(b.d, b.c.Ctx, w.Spec)
	if err != nil {
		return Result{}, err
	}
	r := Result{
		Shape: b.name, Ctx: b.c.Ctx, Attn: w.Attn(), Group: w.Group(), Tile: pl.Tile, Device: b.machine.Device,
		DType:    plan.TypeName(b.be.Act()),
		SPerStep: s, Spread: [2]float64{times[0], times[len(times)-1]}, TokPerS: float64(n*b.c.Ctx) / s,
		TFLOPS: float64(n) * flops / s / 1e12, DevicePeak: peaks.Device, DevicePlan: room.Device,
		HostPeak: peaks.Host, HostPlan: room.Host, Ranks: g.Size(), Rows: n,
	}
	if g.Size() > 1 {
		t, err := g.Most(e.Traffic(g).Since(before, float64(b.steps)))
		if err != nil {
			return Result{}, err
		}
		r.Traffic = &t
	}
	fmt.Fprintf(b.log, "%s ctx %d, %s: %.4f s a step (%.4f predicted), %.0f tok/s\n", r.Shape, r.Ctx, r.Attn, r.SPerStep,
		pl.Seconds(b.rates, 1), r.TokPerS)
	return r, nil
}

// step is one optimizer step on tokens drawn by the seed.
func (b *bench) step(ctx context.Context, e *train.Engine, w *load.Batches, s int) error {
	w.Start()
	scored, g := 0, b.c.Ranks
	for i := range b.c.Batch {
		sample := ((s-1)*g.Chains()+g.Rank()/g.Divided())*b.c.Batch + i
		row := load.RandomRow(b.c.Seed+uint64(sample)+1, b.c.Ctx, b.d.V)
		w.Add(row, int64(s), int64(sample))
		scored += g.Chains() * load.Scored(row) // every random row scores as many
	}
	loss, norm, err := e.Gradients(ctx, 1, func(int) *model.Batch { return w.Batch() }, scored)
	if err == nil {
		err = e.CheckFinite(s, loss, norm)
	}
	if err != nil {
		return err
	}
	lr, outer := b.c.RatesFor(b.d.C, 0)
	e.Model.Params.Update(ops.AdamW{LR: lr, Beta1: b.c.Beta1, Beta2: b.c.Beta2, Eps: b.c.Eps, Decay: b.c.WeightDecay,
		GradScale: train.Clip(norm, b.c.MaxGradNorm), Step: s}, outer)
	return b.be.Sync()
}
