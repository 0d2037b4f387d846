package train

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"time"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/ui"
)

// BenchResult is what one shape and context took. Operations are counted without anything that is made again.
type BenchResult struct {
	Shape      string     `json:"shape"`
	Ctx        int        `json:"ctx"`
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
}

// shape finds a named shape.
func shape(name string) (model.Desc, error) {
	d, ok := model.Shapes[name]
	if !ok {
		return d, errs.Usagef("--shape %s: not one of %s", name, strings.Join(model.ShapeNames(), ", "))
	}
	return d, nil
}

// Bench measures real optimizer steps on random weights, batch 1, accumulation 1.
func Bench(ctx context.Context, c *config.Bench, v *config.Values, be ops.Backend, log io.Writer) ([]BenchResult, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	d, err := shape(c.Shape)
	if err != nil {
		return nil, err
	}
	m := machine.Here(be)
	free, err := machine.HostAvailable()
	if err != nil {
		free = math.MaxInt64 // where the system does not say it, it must say no by itself
	}
	// A device copies every layer's weights for itself, so the copies may come from one layer's.
	weights := load.NewStandIn(d, m.OnHost)
	if weights.Size() > free {
		return nil, errs.NoFitf("random weights of this shape take %s of host memory, %s are available; measure a smaller --shape, or on a GPU", ui.Bytes(weights.Size()), ui.Bytes(free))
	}
	rates, err := m.Predicting()
	if err != nil {
		return nil, err
	}
	peak := m.Peak
	if m.OnHost {
		peak = rates.Linear
		fmt.Fprintf(log, "mfu is counted against this machine's measured product rate, %.0f GFLOP/s: a CPU has no bf16 datasheet rate\n", peak/1e9)
	} else if peak == 0 {
		fmt.Fprintf(log, "note: no datasheet rate is known for %s: mfu is given as 0\n", m.Chip)
	} else {
		fmt.Fprintf(log, "mfu is counted against the %s's dense bf16 datasheet rate, %.0f TFLOP/s; all layers have equal random weights, each its own copy\n", m.Chip, peak/1e12)
	}
	var all []bench
	for _, n := range c.Ctxs {
		t, err := c.At(v, n)
		if err != nil {
			return nil, err
		}
		b := bench{name: c.Shape, c: &t, d: d, be: be, machine: m, rates: rates, weights: weights, steps: c.Steps, warmup: c.Warmup, log: log}
		if _, _, _, err := b.plan(weights.Size()); err != nil { // before minutes are spent on weights
			return nil, err
		}
		all = append(all, b)
	}
	if err := weights.Fill(c.Seed); err != nil {
		return nil, err
	}
	defer weights.Close()
	var out []BenchResult
	for _, b := range all {
		r, err := b.measure(ctx)
		if err != nil {
			return nil, err
		}
		if peak > 0 {
			r.MFU = r.TFLOPS * 1e12 / peak
		}
		out = append(out, r)
		fmt.Fprintf(log, "%s ctx %d: %.4f s a step (%.4f predicted), %.0f tok/s\n", r.Shape, r.Ctx, r.SPerStep, b.predicted, r.TokPerS)
	}
	return out, nil
}

// bench is one measurement.
type bench struct {
	name          string
	c             *config.Train
	d             model.Desc
	be            ops.Backend
	machine       machine.Machine
	rates         ops.Rates
	weights       *load.StandIn
	steps, warmup int
	log           io.Writer
	predicted     float64 // seconds a step
}

// problem is what is planned for a row of a model of which nothing is open.
func problem(c *config.Train, d model.Desc, tr model.Train, weight tensor.DType, m machine.Machine) (plan.Problem, plan.Limits, error) {
	runtime.GC()
	debug.FreeOSMemory()
	anon, err := machine.RssAnon()
	if err != nil {
		return plan.Problem{}, plan.Limits{}, err
	}
	p := pose(c, d, tr, weight, m)
	p.Base, p.IDs = anon, batchBytes(c, tr)+4*int64(c.Ctx)*int64(c.Batch)
	lim, err := plan.LimitsOf(&c.Common, m, anon)
	return p, lim, err
}

// plan plans a step, or refuses with the longest context that fits. coming is memory that the weights will still take.
func (b *bench) plan(coming int64) (plan.Problem, plan.Limits, plan.Plan, error) {
	tr, err := trained(b.c, &load.Base{}, b.d)
	if err != nil {
		return plan.Problem{}, plan.Limits{}, plan.Plan{}, err
	}
	p, lim, err := problem(b.c, b.d, tr, tensor.BF16, b.machine)
	if err != nil {
		return p, lim, plan.Plan{}, err
	}
	if b.c.HostMem == "" {
		lim.Host -= coming / 5 * 4 // as plan.LimitsOf counts what is available
	}
	pl, err := plan.Choose(p, lim)
	if errs.Code(err) == int(errs.NoFit) {
		_, err = advise(err, b.c, func(t *config.Train) (plan.Problem, error) {
			tr, err := trained(t, &load.Base{}, b.d)
			return pose(t, b.d, tr, tensor.BF16, b.machine), err
		}, lim, b.machine)
	}
	return p, lim, pl, err
}

func (b *bench) measure(ctx context.Context) (BenchResult, error) {
	p, lim, pl, err := b.plan(0)
	if err != nil {
		return BenchResult{}, err
	}
	fmt.Fprintf(b.log, "%s ctx %d: tile %d, keeping %s, MLP by %d rows, logits by %d; %s\n", b.name, b.c.Ctx, pl.Tile, pl.Kept(), pl.MLPRows, pl.HeadRows, needs(pl, lim, b.machine))
	if note := moveNote(b.c, b.machine); note != "" {
		fmt.Fprintf(b.log, "note: %s\n", note)
	}
	b.predicted = pl.Seconds(b.rates, 1)
	inv, scale := rope.Default(b.d.D)
	e, err := NewEngine(b.be, p, pl, b.weights, model.Rope{Inv: inv, Scale: scale}, b.c.Seed)
	if err != nil {
		return BenchResult{}, err
	}
	defer e.Close()
	var times []float64
	peaks := peaks{machine: b.machine}
	w := builder{seed: b.c.Seed, drop: p.Train.Drop > 0}
	for i := range b.warmup + b.steps {
		begun := time.Now()
		if err := b.step(ctx, e, &w, i+1); err != nil {
			return BenchResult{}, err
		}
		sec := time.Since(begun).Seconds()
		if err := peaks.look(); err != nil {
			return BenchResult{}, err
		}
		if i >= b.warmup {
			times = append(times, sec)
		}
	}
	sort.Float64s(times)
	s, g := (times[(len(times)-1)/2]+times[len(times)/2])/2, groupOf(p)
	return BenchResult{
		Shape: b.name, Ctx: b.c.Ctx, Group: g, Tile: pl.Tile, Device: deviceKind(b.be.Name()), DType: typeName(b.be.Act()),
		SPerStep: s, Spread: [2]float64{times[0], times[len(times)-1]}, TokPerS: float64(b.c.Ctx) / s,
		TFLOPS: plan.StepFlops(b.d, b.c.Ctx, g) / s / 1e12, DevicePeak: peaks.device, DevicePlan: pl.Device, HostPeak: peaks.host, HostPlan: pl.Host,
	}, nil
}

// peaks are the most memory that was seen in use.
type peaks struct {
	machine      machine.Machine
	device, host int64
}

// look takes the present figures into account.
func (p *peaks) look() error {
	d, err := p.machine.DeviceUsed()
	if err != nil {
		return err
	}
	p.device = max(p.device, d)
	if rss, err := machine.RssAnon(); err == nil { // where the kernel does not say it, nothing else depends on it
		p.host = max(p.host, rss)
	}
	return nil
}

// step is one optimizer step on tokens drawn by the seed.
func (b *bench) step(ctx context.Context, e *Engine, w *builder, s int) error {
	w.start()
	row := load.RandomRow(b.c.Seed+uint64(s), b.c.Ctx, b.d.V)
	w.add(row, int64(s), int64(s-1))
	loss, norm, err := e.Gradients(ctx, 1, func(int) *model.Batch { return w.batch() }, scored(row))
	if err == nil {
		err = checkFinite(s, loss, norm)
	}
	if err != nil {
		return err
	}
	e.Model.Params.Update(ops.AdamW{LR: b.c.LR, Beta1: b.c.Beta1, Beta2: b.c.Beta2, Eps: b.c.Eps, Decay: b.c.WeightDecay, GradScale: clip(norm, b.c.MaxGradNorm), Step: s})
	return b.be.Sync()
}

// groupOf is G, the whole context under full attention or where G is longer.
func groupOf(p plan.Problem) int {
	if p.Spec.Mode == s2attn.Full {
		return p.Ctx
	}
	return min(p.Spec.Group, p.Ctx)
}

// typeName is an element type as --dtype has it.
func typeName(d tensor.DType) string {
	if d == tensor.F32 {
		return "fp32"
	}
	return "bf16"
}
