package train

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"time"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/rope"
	"longlora/internal/tensor"
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
	weights, err := load.NewStandIn(d, c.Seed)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	rates, err := plan.Calibrate(be)
	if err != nil {
		return nil, err
	}
	if deviceKind(be.Name()) == "cpu" {
		fmt.Fprintf(log, "mfu is counted against this machine's measured product rate, %.0f GFLOP/s: a CPU has no bf16 datasheet rate\n", rates.Linear/1e9)
	}
	var out []BenchResult
	for _, n := range c.Ctxs {
		t, err := c.At(v, n)
		if err != nil {
			return nil, err
		}
		b := bench{name: c.Shape, c: &t, d: d, be: be, weights: weights, steps: c.Steps, warmup: c.Warmup}
		r, err := b.measure(ctx)
		if err != nil {
			return nil, err
		}
		r.MFU = r.TFLOPS * 1e12 / rates.Linear
		out = append(out, r)
		fmt.Fprintf(log, "%s ctx %d: %.4f s a step, %.0f tok/s\n", r.Shape, r.Ctx, r.SPerStep, r.TokPerS)
	}
	return out, nil
}

// bench is one measurement.
type bench struct {
	name          string
	c             *config.Train
	d             model.Desc
	be            ops.Backend
	weights       *load.StandIn
	steps, warmup int
}

// problem is what is planned for a row of a model without a checkpoint.
func problem(c *config.Train, d model.Desc, weight tensor.DType, be ops.Backend) (plan.Problem, plan.Limits, error) {
	s := &setup{c: c, be: be, base: &load.Base{}}
	tr, err := s.trained()
	if err != nil {
		return plan.Problem{}, plan.Limits{}, err
	}
	runtime.GC()
	debug.FreeOSMemory()
	anon, err := plan.RssAnon()
	if err != nil {
		return plan.Problem{}, plan.Limits{}, err
	}
	s.tr, s.spec = tr, spec(c)
	p := plan.Problem{
		Desc: d, Train: tr, Weight: weight, Spec: s.spec, Ctx: c.Ctx, Batch: c.Batch,
		Cuts: c.Pack == "cut" || c.Pack == "pad" && c.Batch > 1, Forced: s.tile(),
		Act: be.Act(), Workspace: be.WorkspaceBytes(), OnHost: deviceKind(be.Name()) == "cpu", Base: anon,
		IDs: s.batchBytes() + 4*int64(c.Ctx)*int64(c.Batch),
	}
	lim, err := Limits(&c.Common, anon)
	return p, lim, err
}

func (b *bench) measure(ctx context.Context) (BenchResult, error) {
	p, lim, err := problem(b.c, b.d, tensor.BF16, b.be)
	if err != nil {
		return BenchResult{}, err
	}
	pl, err := plan.Choose(p, lim, plan.ChipCPU)
	if err != nil {
		return BenchResult{}, err
	}
	inv, scale := rope.Default(b.d.D)
	e, err := NewEngine(b.be, p, pl, b.weights, model.Rope{Inv: inv, Scale: scale}, b.c.Seed)
	if err != nil {
		return BenchResult{}, err
	}
	defer e.Close()
	var times []float64
	peak := int64(0)
	w := builder{seed: b.c.Seed, drop: p.Train.Drop > 0}
	for i := range b.warmup + b.steps {
		begun := time.Now()
		if err := b.step(ctx, e, &w, i+1); err != nil {
			return BenchResult{}, err
		}
		if rss, err := plan.RssAnon(); err == nil {
			peak = max(peak, rss)
		}
		if i >= b.warmup {
			times = append(times, time.Since(begun).Seconds())
		}
	}
	sort.Float64s(times)
	s := (times[(len(times)-1)/2] + times[len(times)/2]) / 2
	return BenchResult{
		Shape: b.name, Ctx: b.c.Ctx, Group: groupOf(b.c), Tile: pl.Tile, Device: deviceKind(b.be.Name()), DType: typeName(b.be.Act()),
		SPerStep: s, Spread: [2]float64{times[0], times[len(times)-1]}, TokPerS: float64(b.c.Ctx) / s,
		TFLOPS: plan.StepFlops(b.d, b.c.Ctx, groupOf(b.c)) / s / 1e12, DevicePlan: pl.Device, HostPeak: peak, HostPlan: pl.Host,
	}, nil
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

// groupOf is G, the whole context under full attention.
func groupOf(c *config.Train) int {
	if c.Attn == "full" {
		return c.Ctx
	}
	return min(c.G, c.Ctx)
}

// typeName is an element type as --dtype has it.
func typeName(d tensor.DType) string {
	if d == tensor.F32 {
		return "fp32"
	}
	return "bf16"
}
