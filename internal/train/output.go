package train

import (
	"io"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/files"
	"longlora/internal/lora"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
)

// shardBytes is the most that one file of a checkpoint holds, transformers' own default.
const shardBytes = 5 << 30

// writeTrained writes what was trained into dir: a PEFT adapter, or a Hugging Face checkpoint without its
// tokenizer, whose tensors have the type that dtype gives for their names.
func (s *setup) writeTrained(dir string, e *Engine, dtype func(name string) tensor.DType) error {
	ps := e.Model.Params
	if s.c.Tune != "full" {
		a := ckpt.NewAdapter{Base: s.c.Model, Dropout: s.tr.Drop, Tied: s.base.Tied, Family: s.base.Config.Arch}
		if s.base.Adapter != nil {
			a.Config = s.base.Adapter.Config
		} else {
			targets, err := lora.Targets(s.base.Desc(), s.c.Targets)
			if err != nil {
				return err
			}
			a.Config = ckpt.NewAdapterConfig(s.c.Rank, s.c.Alpha, s.c.RSLoRA, targets)
		}
		for _, t := range s.base.Desc().Tensors() {
			a.Model = append(a.Model, t.Name)
		}
		for _, p := range ps.List {
			a.Tensors = append(a.Tensors, e.out(p.Name, p.Value, tensor.F32))
		}
		return ckpt.WriteAdapter(dir, a)
	}
	var outs []ckpt.Out
	for _, p := range ps.List {
		outs = append(outs, e.out(p.Name, p.Value, dtype(p.Name)))
	}
	if err := ckpt.WriteSharded(dir, outs, shardBytes); err != nil {
		return err
	}
	raw := s.base.Config.Derived()
	s.base.Config.SetTied(raw, s.base.Tied)
	if s.pos.Changed {
		s.pos.WriteConfig(raw)
	}
	s.base.Config.SetWindows(raw, s.base.Window)
	return files.WriteJSON(filepath.Join(dir, "config.json"), raw)
}

// baseType is the type that a tensor has in the base, what config.json says where the base has no weights.
func (s *setup) baseType(name string) tensor.DType {
	if s.base.Weights != nil {
		if t, ok := s.base.Weights.Tensors[name]; ok {
			return t.DType
		}
	}
	return s.base.Config.DType
}

// writeOutputs writes the finished run's files.
func (s *setup) writeOutputs(e *Engine) error {
	if err := s.writeTrained(s.c.Out, e, s.baseType); err != nil {
		return err
	}
	if s.c.Tune == "full" {
		return ckpt.CarryOver(s.c.Out, s.base.Dir)
	}
	return nil
}

// resultFiles are the names of the files that the result consists of.
func (s *setup) resultFiles() ([]string, error) {
	if s.c.Tune != "full" {
		return []string{rundir.AdapterConfigFile, rundir.AdapterFile}, nil
	}
	m, err := ckpt.OpenModel(s.c.Out)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	names := []string{"config.json"}
	for _, f := range m.Files {
		names = append(names, filepath.Base(f))
	}
	return names, nil
}

// writeConfig writes longlora.yaml, from which the same run can be started again.
func (s *setup) writeConfig() error {
	b, err := YAML(s.settings())
	if err != nil {
		return err
	}
	return files.WriteAtomic(filepath.Join(s.c.Out, rundir.ConfigFile), func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
