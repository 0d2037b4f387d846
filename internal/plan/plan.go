// Package plan says, before a weight is read, what a training step will need and how long it will take, and
// chooses how to carry it out.
//
// Memory is not estimated: the step's own code runs against a backend that only counts and arenas that only
// count, and what they report is what the real arenas will be. Time is operations over rates. The choice is
// by enumeration over tile lengths and what a layer keeps, the least predicted time that fits; it uses built-in
// rates, so that the same machine and limits always give the same plan and the same bits.
package plan

import (
	"fmt"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Problem is what is to be planned.
type Problem struct {
	Desc   model.Desc
	Train  model.Train
	Weight tensor.DType // of the frozen weights
	Spec   s2attn.Spec
	Ctx    int           // tokens of a row
	Batch  int           // rows of a micro-batch
	Cuts   bool          // rows hold several documents: halos may be as long as any cuts make them
	Forced int           // a tile length that the user asked for, 0 when free
	Score  []s2attn.Spec // ways of attending that rows are also scored with, in the same arenas

	Act       tensor.DType // the backend's
	Workspace int64        // the backend's
	OnHost    bool         // the backend's device memory is the host's
	Base      int64        // host bytes in use before anything is taken
	IDs       int64        // host bytes of token ids and row tables
}

// Plan is a choice and what it costs.
type Plan struct {
	model.Tiling
	Params    int64 `json:"params_bytes"`    // trained values, gradients and moments, frozen norms
	Act       int64 `json:"act_bytes"`       // activations, windows, gradients, logits chunk
	Halo      int64 `json:"halo_bytes"`      // keys and values between tiles, and their gradients
	Workspace int64 `json:"workspace_bytes"` // packing buffers and libraries
	Weights   int64 `json:"weights_bytes"`   // frozen weights: mapped pages on the CPU
	IDs       int64 `json:"ids_bytes"`
	Base      int64 `json:"base_bytes"` // the process itself

	Device    int64    `json:"device_bytes"`
	Host      int64    `json:"host_bytes"`
	Cost      ops.Cost `json:"-"` // of one micro-batch
	Optimizer ops.Cost `json:"-"` // of one update
	Trainable int64    `json:"trainable"`
}

// Limits are bytes that may be used.
type Limits struct{ Device, Host int64 }

// Count plans one way of carrying the step out.
func Count(p Problem, tl model.Tiling) (Plan, error) {
	c := ops.NewCounter(p.Act, p.Workspace)
	params, act, halo := ops.CountingArena("parameters", ops.Device), ops.CountingArena("activations", ops.Device), ops.CountingArena("halos", ops.Host)
	shapes := map[string]tensor.Shape{}
	for _, s := range p.Desc.TensorShapes() {
		shapes[s.Name] = s.Shape
	}
	m, err := model.New(c, p.Desc, p.Train, func(name string) (model.Raw, error) {
		return model.Raw{DType: p.Weight, Shape: shapes[name]}, nil
	}, params)
	if err != nil {
		return Plan{}, err
	}
	r := model.NewRunner(m, c, p.Spec, model.Rope{Inv: make([]float32, p.Desc.D/2)}, tl, act, halo)
	r.Worst = p.Cuts
	var scorers []*model.Runner
	for _, spec := range p.Score {
		q := model.NewRunner(m, c, spec, model.Rope{Inv: make([]float32, p.Desc.D/2)}, tl, act, halo)
		q.Worst = p.Cuts
		scorers = append(scorers, q)
	}
	c.Cost = ops.Cost{}
	r.Step(p.batch(), 1)
	cost := c.Cost
	for _, q := range scorers {
		one := p
		one.Batch = 1
		if _, err := q.Score(one.batch()); err != nil {
			return Plan{}, err
		}
	}
	pl := Plan{
		Tiling: tl, Params: params.Peak(), Act: act.Peak(), Halo: halo.Peak(), Workspace: p.Workspace,
		Weights: c.Weights, IDs: p.IDs, Base: p.Base, Cost: cost, Trainable: m.Params.Count(),
	}
	c.Cost = ops.Cost{}
	m.Params.ZeroGrad()
	if _, err := m.Params.GradNorm(); err != nil {
		return Plan{}, err
	}
	m.Params.Update(ops.AdamW{})
	pl.Optimizer = c.Cost
	pl.Device = pl.Params + pl.Act + pl.Workspace + pl.Weights
	pl.Host = pl.Halo + pl.IDs + pl.Base
	if p.OnHost { // all memory is host memory; frozen weights are mapped pages, reported apart
		pl.Host += pl.Params + pl.Act + pl.Workspace
		pl.Device = 0
	}
	return pl, nil
}

// batch is a micro-batch of full rows.
func (p Problem) batch() *model.Batch {
	n := p.Ctx * p.Batch
	b := &model.Batch{IDs: make([]int32, n), Targets: make([]int32, n)}
	for i := 0; i <= n; i += p.Ctx {
		b.Docs = append(b.Docs, int32(i))
	}
	if p.Train.Drop > 0 {
		b.Keys = make([]uint64, n)
	}
	return b
}

// Chunk lengths that keep the products efficient; more rows only cost memory.
const (
	mlpRows  = 512
	headRows = 256
)

// candidates lists the ways of carrying the step out, the ones that make least again first.
func (p Problem) candidates() []model.Tiling {
	n := p.Ctx * p.Batch
	tiles := []int{n}
	switch {
	case p.Forced > 0:
		tiles = []int{min(p.Forced, n)}
	case p.Spec.Mode != s2attn.Roll:
		step := p.Spec.Group // halos are shortest where tiles end with groups
		if p.Spec.Mode == s2attn.Full {
			step = n
		}
		for t := step; t < n; t *= 2 {
			tiles = append(tiles, t)
		}
		for t := step / 2; t >= 128; t /= 2 {
			if t < n {
				tiles = append(tiles, t)
			}
		}
	}
	var out []model.Tiling
	for _, t := range tiles {
		for _, k := range []model.Keep{model.KeepAll, model.KeepAttn, model.KeepInput} {
			out = append(out, model.Tiling{Tile: t, Keep: k, MLPRows: min(t, mlpRows), HeadRows: min(t, headRows)})
		}
	}
	return out
}

// Choose picks the way with the least predicted time that fits. When none does the error, of kind NoFit, says
// what the smallest needs.
func Choose(p Problem, lim Limits, rates Rates) (Plan, error) {
	var best, least Plan
	found := false
	for i, tl := range p.candidates() {
		pl, err := Count(p, tl)
		if err != nil {
			return Plan{}, err
		}
		if i == 0 || pl.Host+pl.Device < least.Host+least.Device {
			least = pl
		}
		if pl.Host > lim.Host || !p.OnHost && pl.Device > lim.Device {
			continue
		}
		if !found || pl.Seconds(rates, 1) < best.Seconds(rates, 1) {
			best, found = pl, true
		}
	}
	if found {
		return best, nil
	}
	return least, errs.NoFitf("%s", p.refusal(least, lim))
}

func (p Problem) refusal(least Plan, lim Limits) string {
	s := fmt.Sprintf("--ctx %d does not fit: the smallest plan (tile %d, keeping %s) needs %s of host memory",
		p.Ctx, least.Tile, least.Keep, Bytes(least.Host))
	if !p.OnHost {
		s += fmt.Sprintf(" and %s of device memory", Bytes(least.Device))
	}
	s += fmt.Sprintf("; --host-mem allows %s", Bytes(lim.Host))
	if !p.OnHost {
		s += fmt.Sprintf(", --device-mem %s", Bytes(lim.Device))
	}
	return s
}

// MaxCtx is the longest context that fits, found by doubling and halving; 0 when not even two tokens do.
// prob makes the problem for a context.
func MaxCtx(prob func(ctx int) Problem, lim Limits, rates Rates) (int, error) {
	fits := func(ctx int) (bool, error) {
		_, err := Choose(prob(ctx), lim, rates)
		if errs.Code(err) == int(errs.NoFit) {
			return false, nil
		}
		return err == nil, err
	}
	const unit = 64 // contexts are tried in these steps
	lo, hi := 0, 1
	for {
		ok, err := fits(hi * unit)
		if err != nil {
			return 0, err
		}
		if !ok || hi*unit >= 1<<27 {
			break
		}
		lo, hi = hi, hi*2
	}
	for hi-lo > max(1, lo/256) {
		mid := (lo + hi) / 2
		ok, err := fits(mid * unit)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo * unit, nil
}

// Bytes writes a size in the largest binary unit that keeps it readable.
func Bytes(n int64) string {
	const unit = 1024
	f, names := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for f >= unit && i < len(names)-1 {
		f, i = f/unit, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.2f %s", f, names[i])
}
