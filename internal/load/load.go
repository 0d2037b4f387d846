// Package load opens what a model is made of: a checkpoint's folder, an adapter beside it and the positions that
// it shall be read with, as the descriptions and sources that package model takes.
package load

import (
	"errors"
	"os"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/rope"
	"longlora/internal/tensor"
)

// Base is an open checkpoint, with an adapter or without.
type Base struct {
	Dir       string
	Config    *ckpt.Config
	Positions rope.Positions // as config.json has them
	Weights   *ckpt.Model    // nil where only config.json is read
	Adapter   *ckpt.Adapter  // nil without
	Notes     []string       // what the user should be told
}

// Open opens a folder, or a Hugging Face name from the local cache, with its weights mapped.
func Open(name string) (*Base, error) {
	m, err := ckpt.OpenModel(name)
	if err != nil {
		return nil, err
	}
	b, err := newBase(m.Dir, m.Config)
	if err != nil {
		m.Close()
		return nil, err
	}
	b.Weights = m
	return b, nil
}

// OpenConfig reads config.json alone: for a model without weights yet, and for planning.
func OpenConfig(name string) (*Base, error) {
	dir, err := ckpt.Resolve(name)
	if err != nil {
		return nil, err
	}
	cfg, err := ckpt.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	return newBase(dir, cfg)
}

func newBase(dir string, cfg *ckpt.Config) (*Base, error) {
	p, err := rope.FromConfig(cfg.Path, cfg.Raw)
	if err != nil {
		return nil, err
	}
	return &Base{Dir: dir, Config: cfg, Positions: p, Notes: append([]string{}, cfg.Notes...)}, nil
}

// Close unmaps the weights; models made from them are dead.
func (b *Base) Close() {
	if b.Weights != nil {
		b.Weights.Close()
	}
}

// Desc describes the model.
func (b *Base) Desc() model.Desc {
	c := b.Config
	return model.Desc{C: c.Hidden, F: c.MLP, L: c.Layers, H: c.Heads, Hkv: c.KV, D: c.HeadDim, V: c.Vocab, Eps: float32(c.Eps), Tied: c.Tied}
}

// CheckWindow refuses a context that the model's sliding window does not span.
func (b *Base) CheckWindow(ctx int) error {
	if w := b.Config.Window; w > 0 && w < ctx {
		return errs.Dataf("%s: sliding_window: %d is less than the context of %d tokens; only checkpoints without a window, or with one as long as the context, are supported", b.Config.Path, w, ctx)
	}
	return nil
}

// AddAdapter opens an adapter and checks that it belongs to this model. Rows of its embedding beyond the
// vocabulary are left out, with a note.
func (b *Base) AddAdapter(dir string) error {
	a, err := ckpt.OpenAdapter(dir)
	if err != nil {
		return err
	}
	shapes := shapesOf(b.Desc())
	notes, err := a.Fit(func(name string) (tensor.Shape, bool) {
		s, ok := shapes[name]
		return s, ok
	}, b.Config.Tied)
	if err != nil {
		return err
	}
	b.Adapter, b.Notes = a, append(b.Notes, notes...)
	return nil
}

// Source gives the base's tensors; those that the adapter holds whole replace the base's.
func (b *Base) Source() model.Source {
	shapes := shapesOf(b.Desc())
	return func(name string) (model.Raw, error) {
		if b.Adapter != nil {
			if t, ok := b.Adapter.Saved[name]; ok {
				return model.Raw{DType: t.DType, Shape: t.Shape, Data: t.Data}, nil
			}
		}
		t, err := b.Weights.Get(name, shapes[name])
		if err != nil {
			return model.Raw{}, err
		}
		return model.Raw{DType: t.DType, Shape: t.Shape, Data: t.Data}, nil
	}
}

// WeightType is the element type of the weights: the embedding's, or what config.json says where none are open.
func (b *Base) WeightType() tensor.DType {
	if b.Weights != nil {
		if t, ok := b.Weights.Tensors[model.EmbedName]; ok {
			return t.DType
		}
	}
	return b.Config.DType
}

// Rope resolves positions for a sequence length into what the model computes with.
func Rope(p rope.Positions, headDim, length int) model.Rope {
	inv, scale := p.InvFreq(headDim, length)
	return model.Rope{Inv: inv, Scale: scale}
}

// Targets turns names of linear layers into the model's.
func Targets(names []string) (map[model.Target]bool, error) {
	out := map[model.Target]bool{}
	for _, n := range names {
		found := false
		for i, t := range model.Targets() {
			if t == n {
				out[model.Target(i)], found = true, true
			}
		}
		if !found {
			return nil, errs.Usagef("--targets: %q is no linear layer of the model; known are %v and all-linear", n, model.Targets())
		}
	}
	return out, nil
}

// Frozen is a model description that trains nothing and applies the adapter's factors, for evaluation.
func (b *Base) Frozen() (model.Train, error) {
	tr := model.Train{Frozen: true}
	if b.Adapter == nil || len(b.Adapter.LoRA) == 0 {
		return tr, nil
	}
	t, err := Targets(b.Adapter.Targets)
	tr.Rank, tr.Alpha, tr.LoRA = b.Adapter.Rank, b.Adapter.Alpha, t
	return tr, err
}

// SetFactors gives the model's LoRA parameters the adapter's values.
func (b *Base) SetFactors(ps *model.Params) error {
	for path, pair := range b.Adapter.LoRA {
		for _, f := range []struct {
			name string
			t    ckpt.Tensor
		}{{path + ".lora_A.weight", pair.A}, {path + ".lora_B.weight", pair.B}} {
			p := ps.ByName(f.name)
			if p == nil {
				return errs.Dataf("%s: %s is not among target_modules of adapter_config.json", f.t.File, path)
			}
			ps.Set(p, f.t.Floats())
		}
	}
	return nil
}

// Evaluation sets the model up for scoring and generating: everything frozen, the adapter applied. The arena
// must have room as counted by the same call on a counting backend.
func (b *Base) Evaluation(backend ops.Backend, arena *ops.Arena) (*model.Model, error) {
	tr, err := b.Frozen()
	if err != nil {
		return nil, err
	}
	m, err := model.New(backend, b.Desc(), tr, b.Source(), arena)
	if err != nil || b.Adapter == nil {
		return m, err
	}
	return m, b.SetFactors(m.Params)
}

// Beside reads the positions that a run recorded in dir; ok is false where there is no run.json.
func (b *Base) Beside(dir string) (p rope.Positions, ok bool, err error) {
	path := filepath.Join(dir, "run.json")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return b.Positions, false, nil
	}
	var run struct {
		Positions *rope.Record `json:"positions"`
	}
	if err := ckpt.ReadJSON(path, &run); err != nil {
		return p, false, err
	}
	if run.Positions == nil {
		return p, false, errs.Dataf("%s: positions is missing", path)
	}
	p, _, err = b.Positions.FromRecord(path, *run.Positions)
	return p, true, err
}
