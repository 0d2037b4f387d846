package load

import (
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
)

// AsStored is the choice of weights that lie as they are stored, and are computed with in the device's type.
const AsStored = "auto"

// ChooseWeights decides how the blocks' frozen linear weights are held: as asked, by the name of a quant.Kind; where
// AsStored is asked for, what a run recorded beside the adapter, if follow says so, else as they are stored. What is
// not plain from the options is noted.
func (b *Base) ChooseWeights(asked, adapter string, follow bool) error {
	run, err := rundir.ReadHead(adapter)
	if err != nil {
		return err
	}
	recorded, path := AsStored, filepath.Join(adapter, rundir.RecordFile)
	if run != nil && run.Weights != "" {
		if recorded = run.Weights; !known(recorded) {
			return errs.Dataf("%s: weights: %q: this version holds no weights so", path, recorded)
		}
	}
	if asked == "" {
		asked = AsStored
	}
	chosen := asked
	if asked == AsStored && follow {
		if chosen = recorded; chosen != AsStored {
			b.Notes = append(b.Notes, fmt.Sprintf("weights: %s, as the adapter was trained (%s)", chosen, path))
		}
	} else if adapter != "" && run != nil && run.Kind != "" && asked != recorded {
		b.Notes = append(b.Notes, fmt.Sprintf("%s %s, where the adapter was trained with %s (%s: weights)",
			errs.Option("weights"), asked, recorded, path))
	}
	*b = *b.As(chosen)
	if b.Held != "" && b.Quantised() {
		b.Notes = append(b.Notes, fmt.Sprintf("%s %s: the weights of %s are quantised already; they are dequantised and "+
			"encoded anew", errs.Option("weights"), chosen, b.Dir))
	}
	return nil
}

// Quantised reports whether any of the blocks' matrices is stored in fewer bits.
func (b *Base) Quantised() bool {
	return b.Config != nil && slices.ContainsFunc(b.Desc().Tensors(), func(s model.TensorSpec) bool {
		return s.Linear() && !b.stored(s.Name).Dense()
	})
}

func known(name string) bool {
	_, ok := quant.Named(name)
	return ok
}

// As is the same with its weights held in another way. It is closed with the one that it was made of.
func (b *Base) As(weights string) *Base {
	c := *b
	c.anew, c.Held = nil, ""
	if b.Config != nil && known(weights) {
		c.Held = weights
		if c.anew = anew(b.Desc(), weights, b.stored); b.Adapter != nil {
			for name := range b.Adapter.Saved { // trained, not frozen
				delete(c.anew, name)
			}
		}
	}
	return &c
}

// anew are the formats of those matrices that are held otherwise than `stored` says, by name.
func anew(d model.Desc, weights string, stored model.Formats) map[string]tensor.Format {
	out := map[string]tensor.Format{}
	k, ok := quant.Named(weights)
	for _, s := range d.Tensors() {
		if !ok || !s.Linear() {
			continue
		}
		own := stored(s.Name)
		if f := k.Format(own.Type); f != own || !own.Dense() {
			out[s.Name] = f
		}
	}
	return out
}

// Formats says how the weights of a model are held that are stored in one format.
func Formats(d model.Desc, weights string, stored tensor.Format) model.Formats {
	all := model.AllIn(stored)
	changed := anew(d, weights, all)
	return func(name string) tensor.Format {
		if f, ok := changed[name]; ok {
			return f
		}
		return all(name)
	}
}

// Made is the host memory that encoding such weights takes: where they stay there, and where one goes after the other.
func Made(d model.Desc, weights string, stored tensor.Format, stay bool) (n int64) {
	changed := anew(d, weights, model.AllIn(stored))
	for _, s := range d.Tensors() {
		f, ok := changed[s.Name]
		switch {
		case !ok:
		case stay:
			n += ops.Room(f, s.Shape)
		default:
			n = max(n, ops.Room(f, s.Shape))
		}
	}
	return n
}

// Beside are the blocks' matrices as training held them, where that is otherwise than they are stored; nil where it is
// not.
func (b *Base) Beside() func(s model.TensorSpec) (ckpt.Tensor, error) {
	if len(b.anew) == 0 {
		return nil
	}
	return b.asTrained
}

// asTrained is a matrix that is trained beside.
func (b *Base) asTrained(s model.TensorSpec) (ckpt.Tensor, error) {
	t, err := b.Weights.Get(s.Name, s.Shape)
	if f, ok := b.anew[s.Name]; ok && err == nil {
		t, err = b.encoded(t, f, false)
	}
	return t, err
}

// Onto opens the 16-bit original of a quantised base, for its adapter to be merged onto.
func (b *Base) Onto(name string) (*Base, error) {
	if !b.Quantised() {
		return nil, errs.Usagef("%s %s: the base %s is not quantised; merge onto it itself, without the option",
			errs.Option("onto"), name, b.Dir)
	}
	other, err := OpenConfig(name, "")
	if err != nil {
		return nil, err
	}
	if mine, its := b.Config.Desc, other.Config.Desc; mine.Arch != its.Arch || mine.C != its.C || mine.F != its.F ||
		mine.L != its.L || mine.H != its.H || mine.Hkv != its.Hkv || mine.D != its.D || mine.V != its.V {
		return nil, errs.Dataf("%s %s: config.json describes another model than that of %s", errs.Option("onto"), other.Dir,
			b.Dir)
	}
	onto, err := Open(name, b.Adapter.Dir)
	if err != nil {
		return nil, err
	}
	if onto.Quantised() {
		onto.Close()
		return nil, errs.Usagef("%s %s: is quantised too; give the 16-bit checkpoint that the base was made from",
			errs.Option("onto"), onto.Dir)
	}
	onto.Window = b.Window
	return onto, nil
}

// AsTrained are the matrices of this base as training held them, for who merges onto another one.
func (b *Base) AsTrained() func(s model.TensorSpec) (ckpt.Tensor, error) { return b.asTrained }

// lying are encoded matrices in memory of their own, which Go's collector does not count.
type lying struct {
	mem  []byte
	left []byte
	by   map[string]tensor.Stored
}

// aligned is a part's length as ops.Room counts it.
func aligned(n int64) int64 { return (n + ops.Align - 1) / ops.Align * ops.Align }

func newLying(bytes int64) (*lying, error) {
	mem, err := unix.Mmap(-1, 0, int(max(bytes, 1)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, errs.NoFitf("%d bytes of memory for encoded weights: %w", bytes, err)
	}
	return &lying{mem: mem, left: mem, by: map[string]tensor.Stored{}}, nil
}

// take is memory for a part.
func (l *lying) take(n int64) []byte {
	b := l.left[:n:n]
	l.left = l.left[aligned(n):]
	return b
}

func (l *lying) free() {
	if l != nil {
		_ = unix.Munmap(l.mem)
	}
}

// encoded is a matrix in another format; where it stays it is made once.
func (b *Base) encoded(t ckpt.Tensor, f tensor.Format, stay bool) (ckpt.Tensor, error) {
	alloc := func(n int64) []byte { return make([]byte, n) }
	if stay {
		if b.lying == nil {
			var err error
			if b.lying, err = newLying(b.Made(true)); err != nil {
				return t, err
			}
		}
		if s, ok := b.lying.by[t.Name]; ok {
			return ckpt.FromStored(t.Name, s), nil
		}
		alloc = b.lying.take
	}
	s := f.Make(t.Shape, alloc)
	if !quant.Encode(&s, t.Range) {
		return t, errs.Numericf("tensor %s has values that no code stands for", t.Name) // Blame says which
	}
	t.Release(0, t.Shape.Elems())
	if stay {
		b.lying.by[t.Name] = s
	}
	return ckpt.FromStored(t.Name, s), nil
}
