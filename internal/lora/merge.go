package lora

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/rope"
	"longlora/internal/tensor"
)

// MergeOptions say what is merged into what.
type MergeOptions struct {
	Base      *ckpt.Model
	Desc      model.Desc
	Adapter   *ckpt.Adapter
	Positions rope.Positions
	Changed   bool          // the positions differ from the base's
	DType     *tensor.DType // nil: the base's
	Out       string
	ShardSize int64
}

// Merged counts what a merge did.
type Merged struct {
	Tensors int      `json:"tensors"`
	Changed int      `json:"changed"`
	Same    []string `json:"unchanged_adapter_tensors"`
	Out     string   `json:"out"`
}

// Merge writes base + adapter as an ordinary checkpoint, tensor by tensor: W + scale·B·A is added in float32 and
// rounded once. The folder appears under its name when everything in it is whole.
func Merge(o MergeOptions) (Merged, error) {
	res := Merged{Out: o.Out}
	if _, err := os.Stat(o.Out); err == nil {
		if list, err := os.ReadDir(o.Out); err != nil || len(list) > 0 {
			return res, errs.Usagef("--out %s: exists and is not empty; choose another folder", o.Out)
		}
	}
	tmp := filepath.Join(filepath.Dir(filepath.Clean(o.Out)), ".merging-"+filepath.Base(o.Out))
	if err := os.RemoveAll(tmp); err != nil {
		return res, errs.Dataf("%w", err)
	}
	if err := ckpt.MakeDir(tmp); err != nil {
		return res, err
	}
	defer os.RemoveAll(tmp) // gone already when the merge succeeded
	used := map[string]bool{}
	var outs []ckpt.Out
	for _, s := range o.Desc.TensorShapes() {
		base, err := o.Base.Get(s.Name, s.Shape)
		if err != nil {
			return res, err
		}
		d := base.DType
		if o.DType != nil {
			d = *o.DType
		}
		outs = append(outs, ckpt.Out{Name: s.Name, DType: d, Shape: s.Shape, Write: func(w io.Writer) error {
			return o.write(w, s, base, d, used, &res)
		}})
	}
	res.Tensors = len(outs)
	if err := ckpt.WriteSharded(tmp, outs, o.ShardSize); err != nil {
		return res, err
	}
	if err := o.unused(used); err != nil {
		return res, err
	}
	if err := o.writeConfig(tmp); err != nil {
		return res, err
	}
	if err := os.Remove(o.Out); err != nil && !os.IsNotExist(err) {
		return res, errs.Dataf("%w", err)
	}
	if err := os.Rename(tmp, o.Out); err != nil {
		return res, errs.Dataf("%w", err)
	}
	return res, ckpt.SyncDir(filepath.Dir(filepath.Clean(o.Out)))
}

// chunk is how many elements are converted and written at a time.
const chunk = 1 << 18

// write streams one merged tensor.
func (o *MergeOptions) write(w io.Writer, s model.NamedShape, base ckpt.Tensor, d tensor.DType, used map[string]bool, res *Merged) error {
	src, cols := base, s.Shape[len(s.Shape)-1]
	saved, whole := o.Adapter.Saved[s.Name]
	if whole {
		src, used[s.Name] = saved, true
	}
	path := strings.TrimSuffix(s.Name, ".weight")
	pair, low := o.Adapter.LoRA[path]
	var a, b []float32
	if low {
		used[path] = true
		a, b = pair.A.Floats(), pair.B.Floats()
	}
	rows, changed := s.Shape.Elems()/cols, false
	step := max(1, chunk/cols)
	scale := float32(o.Adapter.Alpha / float64(o.Adapter.Rank))
	for r0 := 0; r0 < rows; r0 += step {
		r1 := min(r0+step, rows)
		v, old := make([]float32, (r1-r0)*cols), make([]float32, (r1-r0)*cols)
		src.Range(v, r0*cols)
		base.Range(old, r0*cols)
		if low {
			addProduct(v, a, b[r0*o.Adapter.Rank:r1*o.Adapter.Rank], o.Adapter.Rank, cols, scale)
		}
		t := ckpt.FromFloats(s.Name, tensor.Shape{len(v)}, v)
		if i := t.NotFinite(); i >= 0 {
			return errs.Numericf("%s: tensor %s: element %d is NaN or infinite", base.File, s.Name, r0*cols+i)
		}
		out := t.As(d)
		if !changed {
			changed = !bytes.Equal(out, ckpt.FromFloats(s.Name, tensor.Shape{len(old)}, old).As(d))
		}
		if _, err := w.Write(out); err != nil {
			return err
		}
	}
	if changed {
		res.Changed++
	} else if whole || low {
		res.Same = append(res.Same, s.Name)
	}
	return nil
}

// addProduct adds scale·b·a to v: a (R,cols), b (rows,R), v (rows,cols).
func addProduct(v, a, b []float32, rank, cols int, scale float32) {
	for r := range len(b) / rank {
		row := v[r*cols : (r+1)*cols]
		sum := make([]float32, cols)
		for k := range rank {
			f := b[r*rank+k]
			for c, x := range a[k*cols : (k+1)*cols] {
				sum[c] += f * x
			}
		}
		for c, x := range sum {
			row[c] += scale * x
		}
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
	raw := o.Base.Config.Raw
	if o.Changed {
		o.Positions.WriteConfig(raw)
	}
	if o.DType != nil {
		key := "torch_dtype"
		if _, ok := raw["dtype"]; ok {
			key = "dtype"
		}
		raw[key] = map[tensor.DType]string{tensor.F32: "float32", tensor.BF16: "bfloat16", tensor.F16: "float16"}[*o.DType]
	}
	return ckpt.WriteJSON(filepath.Join(dir, "config.json"), raw)
}

// String sums the merge up.
func (m Merged) String() string {
	return fmt.Sprintf("%d tensors, %d of them changed: %s", m.Tensors, m.Changed, m.Out)
}
