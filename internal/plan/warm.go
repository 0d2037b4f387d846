package plan

import (
	"runtime/debug"

	"longlora/internal/lora"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

var small = model.Desc{C: 1024, F: 2816, L: 1, H: 8, Hkv: 8, D: 128, V: 32768, Eps: 1e-5}

// warming is a small model with the head size and the proportions of a large one, and a head that is sent by as many
// threads as a large model's weights are.
var warming = Work{
	Desc:   small,
	Train:  lora.Fresh{Rank: 8, Alpha: 16, Norms: true, Targets: small.Targets(true)}.Train(small),
	Weight: model.AllIn(tensor.Dense(tensor.BF16)), Spec: s2attn.Spec{Mode: s2attn.Split, Group: 512}, Ctx: 2048, Batch: 1,
}

// Warm has a GPU do one step of a small model. Libraries and kernels take host and device memory when they are first
// used, and it is to be there when a plan counts what the process holds.
func Warm(card ops.Card) error {
	defer debug.FreeOSMemory()
	return warm(card, warming)
}

// warm does one step of a small model on tokens and weights that are all zero.
func warm(be ops.Backend, w Work) error {
	p := problem{w, Planner{Machine: machine.Here(be)}}
	tl := model.Tiling{Tile: p.Ctx, MLPRows: p.Ctx, HeadRows: p.Ctx / 8}
	z, err := newCounted(p)
	if err != nil {
		return err
	}
	pl := z.size(tl)
	params, err := ops.NewArena(be, "warming up", ops.Device, pl.Params)
	if err != nil {
		return err
	}
	defer params.Free(be)
	act, err := ops.NewArena(be, "warming up", ops.Device, pl.Act)
	if err != nil {
		return err
	}
	defer act.Free(be)
	zeros := make([]byte, 2*p.Desc.V*p.Desc.C) // as large as any of its tensors
	shapes := map[string]tensor.Shape{}
	for _, s := range p.Desc.Tensors() {
		shapes[s.Name] = s.Shape
	}
	m, err := model.New(be, p.Desc, p.Train, func(name string) (tensor.Stored, error) {
		f := p.Weight(name)
		n, _ := f.Bytes(shapes[name])
		return tensor.Stored{Format: f, Shape: shapes[name], Data: zeros[:n]}, nil
	}, model.Memory{Params: params})
	if err != nil {
		return err
	}
	r := model.NewRunner(m, be, p.Spec, model.Rope{Inv: make([]float32, p.Desc.D/2), Scale: 1}, tl, act, act)
	batch := p.batch(p.Ctx)
	batch.IDs, batch.Targets = make([]int32, batch.N()), make([]int32, batch.N()) // to compute, not to count
	r.Step(batch, 1)
	_, err = m.Params.GradNorm()
	if err == nil {
		m.Params.Update(ops.AdamW{LR: 1, Beta1: 0.5, Beta2: 0.5, Eps: 1, GradScale: 1, Step: 1}, 1)
		_, err = r.Loss()
	}
	if freed := m.Release(); err == nil {
		err = freed
	}
	return err
}
