package lora

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/proc"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/ui"
)

// MergeOptions say what is merged into what.
type MergeOptions struct {
	Base    *ckpt.Model
	Desc    model.Desc
	Adapter *ckpt.Adapter
	// a matrix as it was trained beside, of those in which that may differ from Base; nil: none
	Trained   func(s model.TensorSpec) (ckpt.Tensor, error)
	Scale     float64 // how much the adapter counts: 1 as it was trained, 0 not at all
	Positions rope.Positions
	Changed   bool          // the positions differ from the base's
	Window    s2attn.Choice // what is made of the base's sliding windows
	DType     *tensor.DType // nil: the base's
	Out       string
	ShardSize int64
	Threads   int                    // 0: all cores
	Log       io.Writer              // where the merging of a large checkpoint shows; nil: nowhere
	Written   func(dir string) error // called with the folder when all is in it, before it gets its name; nil: not
}

// Merged counts what a merge did.
type Merged struct {
	Tensors int      `json:"tensors"`
	Changed int      `json:"changed"`
	Same    []string `json:"unchanged_adapter_tensors"`
	Out     string   `json:"out"`
	*Distance
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
	stream := Stream{Base: o.Base, Adapter: o.Adapter, Scale: o.Scale, Out: o.Out, Threads: o.Threads,
		Trained: o.Trained}
	quantised := o.Base.Quantised()
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
			return stream.Write(ctx, w, s, base, As{Coding: ckpt.Dense(d), Option: "dtype"})
		}})
	}
	res.Tensors = len(outs)
	done := o.show(outs)
	if err := proc.Intact(func() error { return ckpt.WriteSharded(stage.Dir, outs, o.ShardSize) }); err != nil {
		return res, err
	}
	done()
	res.Changed, res.Same = stream.Changed, stream.Same
	if d := stream.Distance; d != nil {
		res.Distance = &Distance{math.Sqrt(d.Base), math.Sqrt(d.Adapter)}
	}
	if err := stream.Unused(); err != nil {
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

// worthShowing is the size from which on writing takes long enough to be shown.
const worthShowing = 1 << 28

// show has tensors show how much of them is written, where that takes long; done is called when all are.
func (o *MergeOptions) show(outs []ckpt.Out) (done func()) {
	const unit = 1 << 20
	size := func(t ckpt.Out) int { return t.Shape.Elems() * t.DType.Size() }
	total, written := 0, 0
	for _, t := range outs {
		total += size(t)
	}
	if o.Log == nil || total < worthShowing {
		return func() {}
	}
	bar := ui.NewProgress(o.Log, "merging, MiB", total/unit, 0)
	for i := range outs {
		t := &outs[i]
		write := t.Write
		t.Write = func(w io.Writer) error {
			bar.At(written/unit, t.Name)
			written += size(*t)
			return write(w)
		}
	}
	return func() {
		bar.At(total/unit, o.Out)
		bar.Done()
	}
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
	s := fmt.Sprintf("%d tensors, %d of them changed: %s", m.Tensors, m.Changed, m.Out)
	if d := m.Distance; d != nil {
		s += fmt.Sprintf("\nbase_distance %.6g: so far the changed linear layers lie from the weights that the adapter was "+
			"trained beside; adapter_size %.6g: so large is its own change", d.Base, d.Adapter)
	}
	return s
}
