// Package plan says, before a weight is read, what a training step will need and how long it will take, and
// chooses how to carry it out.
//
// Memory is not estimated: the step's own code runs against a backend that only counts and arenas that only
// count, and what they report is what the real arenas will be. Time is operations over rates. The choice is
// by enumeration over tile lengths and what how many layers keep, the least predicted time that fits; it uses
// built-in rates, so that the same machine and limits always give the same plan and the same bits.
package plan

import (
	"fmt"

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

	Machine
	Base int64 // host bytes in use before anything is taken
	IDs  int64 // host bytes of token ids and row tables
}

// Plan is a choice and what it costs.
type Plan struct {
	model.Tiling
	Params    int64 `json:"params_bytes"`    // trained values, gradients and moments, frozen norms
	Act       int64 `json:"act_bytes"`       // activations, windows, gradients, logits chunk
	Halo      int64 `json:"halo_bytes"`      // keys and values between tiles, and their gradients
	Carried   int64 `json:"moved_bytes"`     // activations moved to host memory
	Workspace int64 `json:"workspace_bytes"` // packing buffers and libraries
	Context   int64 `json:"context_bytes"`   // the driver's context, the kernels' code and the libraries
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
func Count(p Problem, tl model.Tiling) (Plan, error) { return count(p, tl, true) }

// size is Count without the operations: the memory alone.
func size(p Problem, tl model.Tiling) (Plan, error) { return count(p, tl, false) }

func count(p Problem, tl model.Tiling, operations bool) (Plan, error) {
	c := ops.NewCounter(p.Machine.Act, p.Workspace, p.Rates)
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
	runner := func(spec s2attn.Spec) *model.Runner {
		r := model.NewRunner(m, c, spec, model.Rope{Inv: make([]float32, p.Desc.D/2)}, tl, act, halo)
		r.Worst = p.Cuts
		return r
	}
	r := runner(p.Spec)
	var scorers []*model.Runner
	for _, spec := range p.Score {
		scorers = append(scorers, runner(spec))
	}
	pl := Plan{Tiling: tl, Workspace: p.Workspace, Context: p.Context, Weights: c.Weights, IDs: p.IDs, Base: p.Base, Trainable: m.Params.Count()}
	if operations {
		c.Restart()
		r.Step(p.batch(), 1)
		pl.Cost = c.Restart()
		m.Params.ZeroGrad()
		if _, err := m.Params.GradNorm(); err != nil {
			return Plan{}, err
		}
		m.Params.Update(ops.AdamW{})
		pl.Optimizer = c.Restart()
	} else {
		r.Size(p.batch(), true)
	}
	for _, q := range scorers {
		one := p
		one.Batch = 1
		q.Size(one.batch(), false)
	}
	pl.Params, pl.Act, pl.Carried = params.Peak(), act.Peak(), r.Carried()
	pl.Halo = halo.Peak() - pl.Carried
	pl.Device = pl.Params + pl.Act + pl.Workspace + pl.Context + pl.Weights
	pl.Host = pl.Halo + pl.Carried + pl.IDs + pl.Base
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
