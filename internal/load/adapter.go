package load

import (
	"path/filepath"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// addAdapter opens an adapter and checks that it belongs to this model. Rows beyond the vocabulary are left out, with a
// note.
func (b *Base) addAdapter(dir string) error {
	if err := meant(dir); err != nil {
		return err
	}
	a, err := ckpt.OpenAdapter(dir)
	if err != nil {
		return err
	}
	if note := stale(dir); note != "" {
		b.Notes = append(b.Notes, note)
	}
	note, err := b.foreign(dir)
	if err != nil {
		a.Close()
		return err
	}
	if note != "" {
		b.Notes = append(b.Notes, note)
	}
	apart := b.Desc()
	apart.Tied = false
	m := ckpt.Layout{Shapes: shapesOf(apart), Tied: b.Tied, Family: b.Config.Arch}
	if b.Weights != nil {
		m.Tensor = func(name string) (ckpt.Tensor, bool) {
			t, err := b.Weights.Get(name, m.Shapes[name])
			return t, err == nil
		}
	}
	notes, err := a.Fit(m)
	if err != nil {
		a.Close()
		return err
	}
	b.Adapter, b.Notes = a, append(b.Notes, notes...)
	b.Tied = b.Tied && !a.Untied
	b.low = map[string]model.LowRank{}
	for _, s := range apart.Tensors() {
		if f, ok := a.LoRA[s.Module()]; ok && s.Linear() && !a.Config.DoRA {
			b.low[s.Module()] = model.LowRank{Rank: f.Rank(), Scale: float32(f.Scale)}
		}
	}
	return nil
}

// tensor is what stands in the place of one of the base's before factors are added: the adapter's where it has one.
func (b *Base) tensor(name string, shape tensor.Shape) (ckpt.Tensor, error) {
	if b.Adapter != nil {
		if t, ok := b.Adapter.Saved[name]; ok {
			return t, nil
		}
	}
	return b.Weights.Get(name, shape)
}

// source gives the model's tensors. Where factors are not added while it runs, the changed matrix is made. Those
// that are encoded stay in host memory if asked.
func (b *Base) source(stay bool) model.Source {
	shapes := shapesOf(b.Desc())
	return func(name string) (tensor.Stored, error) {
		t, err := b.tensor(name, shapes[name])
		if err != nil {
			return tensor.Stored{}, err
		}
		factors, made := b.made(name)
		if f, ok := b.anew[name]; ok {
			if t, err = b.encoded(t, f, stay && !made); err != nil {
				return tensor.Stored{}, err
			}
		}
		if made {
			t = lora.NewChange(factors, t).Changed(t)
		}
		return t.Stored(), nil
	}
}

// made are the factors by which a matrix is changed before it is used: with DoRA, and those of embedding and head.
func (b *Base) made(name string) (f ckpt.Factors, ok bool) {
	if b.Adapter == nil {
		return f, false
	}
	module := strings.TrimSuffix(name, ".weight")
	if _, runs := b.low[module]; runs {
		return f, false
	}
	f, ok = b.Adapter.LoRA[module]
	return f, ok
}

// Made is the host memory of matrices that loading makes: where they stay there, and where one goes after the other.
// The adapter has some made in float32, and others are encoded.
func (b *Base) Made(stay bool) int64 {
	if b.Config == nil {
		return 0
	}
	all, largest := int64(0), int64(0)
	for _, s := range b.Desc().Tensors() {
		n := int64(0)
		if _, ok := b.made(s.Name); ok || b.patched(s.Name) {
			n = ops.Room(tensor.Dense(tensor.F32), s.Shape)
		} else if f, ok := b.anew[s.Name]; ok {
			n = ops.Room(f, s.Shape)
		}
		all, largest = all+n, max(largest, n)
	}
	if stay {
		return all
	}
	return largest
}

// patched reports whether a matrix is the base's with some rows of the adapter's, which is put together when it is
// read.
func (b *Base) patched(name string) bool {
	return b.Adapter != nil && b.Adapter.Saved[name].Patched()
}

// Frozen trains nothing and adds the adapter's low-rank terms: for evaluation.
func (b *Base) Frozen() model.Train { return model.Train{Frozen: true, LoRA: b.low} }

// Resume trains what the adapter holds, each factor with its rank and scale.
func (b *Base) Resume(dropout float64) (model.Train, error) {
	tr := model.Train{Drop: dropout, LoRA: b.low, Whole: map[string]bool{}}
	if field, what := b.unresumable(); field != "" {
		return tr, errs.Dataf("%s: %s: %s. Training goes on from LoRA factors of the layers' linear layers and from modules "+
			"saved whole; merge this adapter (longlora merge %s %s %s %s %s MERGED) and train from MERGED",
			b.Adapter.Config.Path, field, what, errs.Option("model"), b.Dir, errs.Option("adapter"), b.Adapter.Dir,
			errs.Option("out"))
	}
	for name, t := range b.Adapter.Saved {
		if !b.copied(name, t) {
			tr.Whole[name] = true
		}
	}
	return tr, nil
}

// copied reports whether a tensor of the adapter is the base's own: PEFT saves embedding and head beside the factors
// where the vocabulary grew, trained or not.
func (b *Base) copied(name string, t ckpt.Tensor) bool {
	named := b.Adapter.Config.Saves(strings.TrimSuffix(name, ".weight")) || filepath.Base(t.File) == ckpt.SideName
	if b.Weights == nil || named {
		return false
	}
	base, err := b.Weights.Get(name, t.Shape)
	return err == nil && ckpt.Equal(base, t)
}

// unresumable names the field of adapter_config.json that training cannot go on from; "" where it can.
func (b *Base) unresumable() (field, what string) {
	a := b.Adapter
	switch {
	case a.Config.DoRA:
		return "use_dora", "true"
	case a.Config.VeLoRA:
		return "velora_config", "a backward pass of its own"
	}
	if a.Config.TrainsTokens() {
		return "trainable_token_indices", "some rows of a matrix were trained, and the others not"
	}
	d := b.Desc()
	for _, name := range []string{d.EmbedName(), d.HeadName()} {
		if _, ok := b.made(name); ok {
			return "target_modules", "it has factors of " + strings.TrimSuffix(name, ".weight")
		}
	}
	if a.Untied {
		return "modules_to_save", d.EmbedName() + " and " + d.HeadName() +
			" are two different tensors with it, and the base has one for both"
	}
	for _, s := range d.Tensors() {
		if _, ok := a.Saved[s.Name]; ok && s.Kind == model.KindBias && !a.Config.Saves(strings.TrimSuffix(s.Name, ".bias")) {
			return "bias", s.Name + " was trained with it"
		}
	}
	return "", ""
}

// setFactors gives the model's LoRA parameters the adapter's values.
func (b *Base) setFactors(ps *model.Params) {
	for path := range b.low {
		f := b.Adapter.LoRA[path]
		ps.Set(ps.ByName(path+".lora_A.weight"), f.A.Floats())
		ps.Set(ps.ByName(path+".lora_B.weight"), f.B.Floats())
	}
}
