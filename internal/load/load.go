// Package load opens what a model is made of: a checkpoint's folder, an adapter beside it and the positions that
// it shall be read with, as the descriptions and sources that package model takes.
package load

import (
	"fmt"
	"io"
	"slices"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/ui"
)

// Base is an open checkpoint, with an adapter or without.
type Base struct {
	Dir       string
	Config    *ckpt.Config
	Positions rope.Positions           // as config.json has them
	Window    s2attn.Choice            // what is made of its sliding windows: see ChooseWindow
	Weights   *ckpt.Model              // nil where only config.json is read
	Tied      bool                     // the output head is the embedding, with the adapter
	Adapter   *ckpt.Adapter            // nil without
	Notes     []string                 // what the user should be told
	low       map[string]model.LowRank // the adapter's factors that are added while the model runs, by module
	anew      map[string]tensor.Format // matrices that are encoded as they are loaded: see ChooseWeights
	lying     *lying                   // these in host memory; nil until then, and beside a card
	Held      string                   // what was chosen, the name of a quant.Kind; "" where they lie as they are
	Log       io.Writer                // where the loading of a large checkpoint onto a device shows; nil for nowhere
}

// Open opens a folder, or a Hugging Face name from the local cache, with its weights mapped, and an adapter's folder
// where one is named.
func Open(name, adapter string) (*Base, error) {
	m, err := ckpt.OpenModel(name)
	if err != nil {
		return nil, err
	}
	b, err := newBase(m.Dir, m.Config)
	if err == nil {
		b.Weights, b.Tied = m, m.Tied
		if cfg := m.Config; cfg.Tied && !m.Tied {
			b.Notes = append(b.Notes, fmt.Sprintf("%s: tie_word_embeddings is true, but the weights hold two different "+
				"tensors, %s and %s: both are read as they are", cfg.Path, cfg.EmbedName(), cfg.HeadName()))
		}
		b.Notes = append(b.Notes, m.Notes...)
		err = m.Check(shapesOf(b.Desc())) // before anything is written or taken
	}
	if err == nil {
		if adapter != "" {
			err = b.addAdapter(adapter)
		}
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return b, nil
}

// OpenConfig reads config.json alone, for a model without weights yet and for planning, and opens an adapter's folder
// where one is named.
func OpenConfig(name, adapter string) (*Base, error) {
	dir, err := ckpt.Resolve(name)
	if err != nil {
		return nil, err
	}
	cfg, err := ckpt.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	b, err := newBase(dir, cfg)
	if err == nil && adapter != "" {
		err = b.addAdapter(adapter)
	}
	return b, err
}

// Blame adds to an error of kind Numeric which weight of the base or the adapter is NaN or infinite, where one is. It
// reads the weights once.
func (b *Base) Blame(err error) error {
	if errs.Code(err) != int(errs.Numeric) {
		return err
	}
	var ts []ckpt.Tensor
	if b.Weights != nil {
		for _, s := range b.Desc().Tensors() {
			if t, err := b.Weights.Get(s.Name, s.Shape); err == nil {
				ts = append(ts, t)
			}
		}
	}
	if b.Adapter != nil {
		ts = append(ts, b.Adapter.Tensors()...)
	}
	const part = 1 << 22
	for _, t := range ts {
		for lo := 0; lo < t.Shape.Elems(); lo += part {
			hi := min(lo+part, t.Shape.Elems())
			if i := ckpt.NotFinite(t.Bytes(lo, hi), t.DType); i >= 0 {
				return errs.Numericf("%w. The cause: %s: element %d of tensor %s is NaN or infinite; the file is broken, fetch or "+
					"train it again", err, t.File, lo+i, t.Name)
			}
		}
	}
	return err
}

func newBase(dir string, cfg *ckpt.Config) (*Base, error) {
	p, err := rope.FromConfig(cfg.Path, cfg.Positions())
	if err != nil {
		return nil, err
	}
	if err := p.Fits(cfg.Path, cfg.RotaryDim()); err != nil {
		return nil, err
	}
	if only := cfg.Arch.Config.Long; only != "" && p.Type != "default" && p.Type != only {
		return nil, errs.Dataf("%s: scaled positions of type %s: a %s has none but of type %s, and transformers refuses the "+
			"others; fetch its config.json again", cfg.Path, p.Type, cfg.Arch.Class, only)
	}
	return &Base{Dir: dir, Config: cfg, Positions: p, Tied: cfg.Tied, Notes: slices.Concat(cfg.Notes, p.Notes)}, nil
}

// Close unmaps the weights; models made from them are dead.
func (b *Base) Close() {
	if b.Weights != nil {
		b.Weights.Close()
	}
	b.lying.free()
	if b.Adapter != nil {
		b.Adapter.Close()
	}
}

// Desc describes the model.
func (b *Base) Desc() model.Desc {
	d := b.Config.Desc
	d.Tied, d.Windows = b.Tied, b.Window.Apply(d.Windows)
	return d
}

// Format is how a weight comes to the model.
func (b *Base) Format(name string) tensor.Format {
	if _, ok := b.made(name); ok {
		return tensor.Dense(tensor.F32)
	}
	if f, ok := b.anew[name]; ok {
		return f
	}
	return b.stored(name)
}

// stored is how a weight is stored; as config.json says where none are open.
func (b *Base) stored(name string) tensor.Format {
	if b.Weights != nil {
		if t, ok := b.Weights.Tensors[name]; ok {
			return t.Format()
		}
	}
	return b.Config.Format(name)
}

// Rope is what the model computes with at these positions; length is what dynamic scaling counts with.
func (b *Base) Rope(p rope.Positions, length int) model.Rope {
	inv, scale := p.InvFreq(b.Config.RotaryDim(), length)
	return model.Rope{Inv: inv, Scale: scale}
}

// New makes the model in memory: frozen weights mapped, trained ones copied, LoRA factors the adapter's or fresh
// ones drawn by seed. The memory has room as counted by the same call on a counting backend. A base without weights
// is drawn from N(0, initializer_range²).
func (b *Base) New(be ops.Backend, tr model.Train, mem model.Memory, seed uint64) (*model.Model, error) {
	if d := b.Config.D; d > ops.MaxHead && be.Act() == tensor.BF16 {
		return nil, errs.Dataf("%s: head_dim: %d; a GPU computes heads of up to %d; use %s cpu", b.Config.Path, d,
			ops.MaxHead, errs.Option("device"))
	}
	src := Random(b.Desc(), b.Config.InitRange, seed)
	if b.Weights != nil {
		_, card := be.(ops.Card)
		src = b.source(!card)
		// beside a CPU nothing is read before it is used, but for what is encoded
		if (card || len(b.anew) > 0) && b.Log != nil && b.bytes() > worthShowing {
			var done func()
			src, done = b.watch(src)
			defer done()
		}
	}
	mem.Format = b.Format
	m, err := model.New(be, b.Desc(), tr, src, mem)
	if err != nil {
		return nil, err
	}
	if b.Adapter != nil {
		b.setFactors(m.Params)
		return m, nil
	}
	lora.InitFactors(m.Params, seed)
	return m, nil
}

// worthShowing is the size from which on loading takes long enough to be shown.
const worthShowing = 1 << 28

// bytes is the size of the checkpoint's tensors.
func (b *Base) bytes() int {
	n := int64(0)
	for _, s := range b.Desc().Tensors() {
		size, _ := b.Format(s.Name).Bytes(s.Shape) // which opening has checked
		n += size
	}
	return int(n)
}

// watch shows how far a source has been read.
func (b *Base) watch(src model.Source) (watched model.Source, done func()) {
	const unit = 1 << 20
	total, read := b.bytes(), 0
	bar := ui.NewProgress(b.Log, "loading, MiB", max(1, total/unit), 0)
	return func(name string) (tensor.Stored, error) {
		bar.At(min(read, total)/unit, name) // a tensor is asked for when the one before it has been sent
		r, err := src(name)
		read += len(r.Data)
		return r, err
	}, bar.Done
}

// Apart refuses a folder of results that is the model's or the adapter's own: what is written there would lie among
// their files. An empty out is none.
func (b *Base) Apart(out, adapter string) error {
	for _, d := range []struct {
		option errs.Option
		dir    string
	}{{"model", b.Dir}, {"adapter", adapter}} {
		if out != "" && files.SameDir(out, d.dir) {
			return errs.Usagef("%s %s is the folder of %s; choose another one", errs.Option("out"), out, d.option)
		}
	}
	return nil
}
