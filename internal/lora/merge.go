package lora

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/par"
	"longlora/internal/proc"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// MergeOptions say what is merged into what.
type MergeOptions struct {
	Base      *ckpt.Model
	Desc      model.Desc
	Adapter   *ckpt.Adapter
	Scale     float64 // how much the adapter counts: 1 as it was trained, 0 not at all
	Positions rope.Positions
	Changed   bool          // the positions differ from the base's
	Window    s2attn.Choice // what is made of the base's sliding windows
	DType     *tensor.DType // nil: the base's
	Out       string
	ShardSize int64
	Threads   int                    // 0: all cores
	Written   func(dir string) error // called with the folder when all is in it, before it gets its name; nil: not
}

// Merged counts what a merge did.
type Merged struct {
	Tensors int      `json:"tensors"`
	Changed int      `json:"changed"`
	Same    []string `json:"unchanged_adapter_tensors"`
	Out     string   `json:"out"`
}

// Merge writes base + adapter as an ordinary checkpoint, tensor by tensor: W + scale·B·A is added in float32 and
// rounded once. The folder appears under its name when everything in it is whole; of two merges into one the second is
// an error of kind Usage.
func Merge(ctx context.Context, o MergeOptions) (Merged, error) {
	res := Merged{Out: o.Out}
	if o.Scale == 0 {
		o.Adapter, o.Desc.Tied = &ckpt.Adapter{}, o.Base.Tied
	}
	if err := ckpt.CanCarry(o.Base.Dir); err != nil {
		return res, err
	}
	stage, err := files.NewStage(o.Out, "another merge is writing this folder; wait for it, or choose another "+
		errs.Option("out").String())
	if err != nil {
		return res, err
	}
	defer stage.Drop()
	used, quantised := map[string]bool{}, o.Base.Quantised()
	var outs []ckpt.Out
	for _, s := range o.Desc.Tensors() {
		base, err := o.Base.Get(s.Name, s.Shape)
		if err != nil {
			return res, err
		}
		d := base.DType
		if quantised { // its tensors are of the types that the codes were made from
			d = o.Base.Config.DType
		}
		if o.DType != nil {
			d = *o.DType
		}
		outs = append(outs, ckpt.Out{Name: s.Name, DType: d, Shape: s.Shape, Write: func(w io.Writer) error {
			return o.write(ctx, w, s, base, d, used, &res)
		}})
	}
	res.Tensors = len(outs)
	if err := proc.Intact(func() error { return ckpt.WriteSharded(stage.Dir, outs, o.ShardSize) }); err != nil {
		return res, err
	}
	if err := o.unused(used); err != nil {
		return res, err
	}
	if err := o.writeConfig(stage.Dir); err != nil {
		return res, err
	}
	if o.Written != nil {
		if err := o.Written(stage.Dir); err != nil {
			return res, err
		}
	}
	return res, stage.Commit("config.json")
}

// chunk is how many elements a worker converts at a time.
const chunk = 1 << 18

// part makes some rows of one merged tensor.
type part struct {
	base, src ckpt.Tensor // the base's, and the adapter's where it holds the tensor whole
	d         tensor.DType
	cols      int
	change    *Change // nil without factors
	scale     float32
	from      string // the file of the factors

	v, old   []float32
	out, was []byte
	changed  bool
	err      error
}

// write streams one merged tensor: as many parts at a time as there are cores, written in their order.
func (o *MergeOptions) write(ctx context.Context, w io.Writer, s model.TensorSpec, base ckpt.Tensor, d tensor.DType,
	used map[string]bool, res *Merged) error {
	p := part{base: base, src: base, d: d, cols: s.Shape[len(s.Shape)-1], scale: float32(o.Scale)}
	saved, whole := o.Adapter.Saved[s.Name]
	if whole {
		p.src, used[s.Name] = saved, true
	}
	path := strings.TrimSuffix(s.Name, ".weight")
	f, low := o.Adapter.LoRA[path]
	if low {
		used[path] = true
		f.Scale *= o.Scale
		p.change, p.from = NewChange(f, p.src), f.A.File
	}
	threads := o.Threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	parts := make([]part, threads)
	for i := range parts {
		parts[i] = p
	}
	rows, changed := s.Shape.Elems()/p.cols, false
	step := max(1, chunk/p.cols)
	for r := 0; r < rows; {
		if ctx.Err() != nil {
			return errs.Interruptedf("interrupted; nothing was written to %s", o.Out)
		}
		start, n := r, 0
		var group par.Group
		for ; n < len(parts) && r < rows; n++ {
			q, r0, r1 := &parts[n], r, min(r+step, rows)
			group.Go(func() { q.make(r0, r1) })
			r = r1
		}
		group.Wait()
		if err := proc.Broken(); err != nil {
			return err
		}
		for i := range parts[:n] {
			q := &parts[i]
			if q.err != nil {
				return q.err
			}
			changed = changed || q.changed
			if _, err := w.Write(q.out); err != nil {
				return err
			}
		}
		base.Release(start*p.cols, r*p.cols)
		p.src.Release(start*p.cols, r*p.cols)
	}
	if changed {
		res.Changed++
	} else if whole || low {
		res.Same = append(res.Same, s.Name)
	}
	return nil
}

// make fills out with rows r0 to r1, and changed with whether their bits differ from the base's.
func (p *part) make(r0, r1 int) {
	lo, hi := r0*p.cols, r1*p.cols
	p.err = nil
	if p.change == nil && p.src.Name == p.base.Name && p.src.File == p.base.File && p.d == p.base.DType {
		p.out = p.base.Bytes(lo, hi)
	} else {
		p.v, p.old = slices.Grow(p.v[:0], hi-lo)[:hi-lo], slices.Grow(p.old[:0], hi-lo)[:hi-lo]
		p.src.Range(p.v, lo)
		p.base.Range(p.old, lo)
		if p.scale != 1 {
			for i, b := range p.old {
				p.v[i] = b + float32(p.scale*(p.v[i]-b))
			}
		}
		if p.change != nil {
			p.change.Rows(p.v, r0, p.cols)
		}
		p.out, p.was = ckpt.AppendFloats(p.out[:0], p.v, p.d), ckpt.AppendFloats(p.was[:0], p.old, p.d)
		p.changed = !bytes.Equal(p.out, p.was)
	}
	i := ckpt.NotFinite(p.out, p.d)
	if i < 0 {
		return
	}
	where := fmt.Sprintf("element %d of tensor %s", lo+i, p.base.Name)
	switch {
	case ckpt.NotFinite(p.src.Bytes(lo+i, lo+i+1), p.src.DType) == 0:
		p.err = errs.Numericf("%s: %s is NaN or infinite; a checkpoint with such a weight is broken", p.src.File, where)
	case p.change != nil && ckpt.NotFinite(ckpt.AppendFloats(nil, p.v[i:i+1], tensor.F32), tensor.F32) == 0:
		p.err = errs.Numericf("%s: %s becomes NaN or infinite with the adapter's factors; the adapter is broken",
			p.from, where)
	default:
		p.err = errs.Numericf("%s: %s is %v, too large for the type of the merged weights; use another %s",
			p.base.File, where, p.v[i], errs.Option("dtype"))
	}
}

// unused names an adapter tensor that had no place.
func (o *MergeOptions) unused(used map[string]bool) error {
	for path, p := range o.Adapter.LoRA {
		if !used[path] {
			return errs.Dataf("%s: the factors of %s were not used: the adapter is of another model", p.A.File, path)
		}
	}
	for name, t := range o.Adapter.Saved {
		if !used[name] {
			return errs.Dataf("%s: tensor %s was not used: the adapter is of another model", t.File, name)
		}
	}
	return nil
}

// writeConfig writes config.json with the positions and the type, and carries the other files over.
func (o *MergeOptions) writeConfig(dir string) error {
	if err := ckpt.CarryOver(dir, o.Base.Dir); err != nil {
		return err
	}
	raw := o.Base.Config.Derived()
	o.Base.Config.SetTied(raw, o.Desc.Tied)
	if o.Changed {
		o.Positions.WriteConfig(raw)
	}
	o.Base.Config.SetWindows(raw, o.Window)
	if o.DType != nil {
		name := map[tensor.DType]string{tensor.F32: "float32", tensor.BF16: "bfloat16", tensor.F16: "float16"}[*o.DType]
		_, now := raw["dtype"]
		if now {
			raw["dtype"] = name
		}
		if _, old := raw["torch_dtype"]; old || !now { // every release reads this spelling
			raw["torch_dtype"] = name
		}
	}
	return files.WriteJSON(filepath.Join(dir, "config.json"), raw)
}

// String sums the merge up.
func (m Merged) String() string {
	return fmt.Sprintf("%d tensors, %d of them changed: %s", m.Tensors, m.Changed, m.Out)
}
