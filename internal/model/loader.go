package model

import (
	"fmt"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Source gives the base's tensors by their Hugging Face names.
type Source func(name string) (tensor.Stored, error)

// Formats says how the base's matrices are stored, by their names.
type Formats func(name string) tensor.Format

// AllIn is for matrices of one format.
func AllIn(f tensor.Format) Formats { return func(string) tensor.Format { return f } }

// loader reads base tensors, keeping the first error.
type loader struct {
	d     Desc
	b     ops.Backend
	src   Source
	ps    *Params
	mem   Memory
	arena *ops.Arena
	// where the frozen matrices of the layer lie which is loaded; nil where it is resident
	away *waiting
	err  error
}

// raw is a base tensor of the model's shape.
func (ld *loader) raw(name string, shape ...int) (tensor.Stored, bool) {
	if ld.err != nil {
		return tensor.Stored{}, false
	}
	r, err := ld.src(name)
	if err == nil && !r.Shape.Equal(shape) {
		err = fmt.Errorf("tensor %s has shape %v, the model's is %v", name, r.Shape, shape)
	}
	ld.err = err
	return r, err == nil
}

// layer brings layer l's modules.
func (ld *loader) layer(m *Model, l int, tr Train, away *ops.Arena) {
	if m.stream != nil && m.stream.turn[l] >= 0 {
		n := int64(0)
		for _, s := range ld.d.LayerTensors(l) {
			n += room(ld.d, ld.ps, ld.mem, s)
		}
		ld.away = m.stream.room(l, n, away)
	}
	for _, p := range ld.d.arch().Modules {
		ld.module(&m.Layers[l], p, l, tr)
	}
	if ld.away != nil {
		m.stream.added(l)
	}
	ld.away = nil
}

// module brings one of layer l's modules.
func (ld *loader) module(y *Layer, p Module, l int, tr Train) {
	r, path := p.Roles[0], ld.d.path(p, l)
	if r.norm() {
		*y.norm(r) = ld.norm(path, ld.d.width(r))
		return
	}
	out, in := ld.d.extents(p)
	w, dw := ld.rows(path+".weight", ld.d.split(p), out, in)
	bias, dbias := make([]ops.Tensor, len(p.Roles)), make([]ops.Tensor, len(p.Roles))
	if ld.d.Bias[r] {
		b, db := ld.vector(path+".bias", out, ld.b.Act())
		bias, dbias = cut(b, ld.d.split(p)), cut(db, ld.d.split(p))
	}
	if ld.err != nil {
		return
	}
	low, ok := tr.LoRA[path]
	for i, r := range p.Roles {
		lin := &y.Lin[r]
		y.still[r] = ld.ps.ByName(path+".weight") == nil
		*lin = ops.Linear{W: w[i], DW: dw[i], Bias: bias[i], DBias: dbias[i]}
		if ok {
			lin.LoRA = ld.ps.lora(path, low.Scale, ops.Dropout{P: float32(tr.Drop), Stream: stream(l, p.Roles[0])})
			lin.LoRA.B, lin.LoRA.DB = cut(lin.LoRA.B, ld.d.split(p))[i], cut(lin.LoRA.DB, ld.d.split(p))[i]
		}
	}
}

// stream numbers what dropout falls on: the input of the module whose first rows have the role.
func stream(l int, r Role) uint64 {
	if r == QKV {
		r = Q
	}
	return uint64(l)*uint64(Down+1) + uint64(r)
}

// split are the numbers of rows of a matrix that its roles have.
func (d Desc) split(p Module) (rows []int) {
	for _, r := range p.Roles {
		out, _ := d.Dims(r)
		rows = append(rows, out)
	}
	return rows
}

// cut divides a tensor's rows; None into Nones.
func cut(t ops.Tensor, rows []int) []ops.Tensor {
	out, at := make([]ops.Tensor, len(rows)), 0
	for i, n := range rows {
		if !t.None() {
			out[i] = t.Rows(at, at+n)
		}
		at += n
	}
	return out
}

// rows is weight of a matrix whose rows have several roles: a tensor for each.
func (ld *loader) rows(name string, split []int, shape ...int) (w []ops.Weight, dw []ops.Tensor) {
	w, dw = make([]ops.Weight, len(split)), make([]ops.Tensor, len(split))
	if len(split) == 1 {
		w[0], dw[0] = ld.weight(name, shape...)
		return w, dw
	}
	r, ok := ld.raw(name, shape...)
	if !ok {
		return w, dw
	}
	if p := ld.ps.ByName(name); p != nil {
		ld.ps.load(p, r)
		for i, t := range cut(p.Compute, split) {
			w[i] = ops.WeightOf(t)
		}
		return w, cut(p.Grad, split)
	}
	at := 0
	for i, n := range split {
		part, err := r.Rows(at, at+n)
		if err != nil {
			err = errs.Usagef("it is several in one, and %w; give another %s, bf16 or fp8", err, errs.Option("weights"))
		} else {
			w[i], err = ld.frozen(part)
		}
		if at += n; err != nil {
			ld.err = fmt.Errorf("tensor %s: %w", name, err)
			break
		}
	}
	return w, dw
}

// weight returns the tensor that operations read and, when it is trained, its gradient.
func (ld *loader) weight(name string, shape ...int) (w ops.Weight, dw ops.Tensor) {
	r, ok := ld.raw(name, shape...)
	if !ok {
		return
	}
	if p := ld.ps.ByName(name); p != nil {
		if !r.Format.Dense() {
			ld.err = fmt.Errorf("tensor %s is stored as %s, of which nothing is trained", name, r.Format)
			return
		}
		ld.ps.load(p, r)
		return ops.WeightOf(p.Compute), p.Grad
	}
	w, ld.err = ld.frozen(r)
	return w, ops.Tensor{}
}

// frozen has a matrix lie where the operations read it, or wait.
func (ld *loader) frozen(r tensor.Stored) (ops.Weight, error) {
	if ld.away == nil {
		return ld.b.Weight(r)
	}
	return ld.away.hold(ld.b, ops.Held(r.Format, ld.b.Act()), r)
}

// norm is a norm's weight, which operations read in float32.
func (ld *loader) norm(path string, width int) Norm {
	var n Norm
	n.W, n.DW = ld.vector(path+".weight", width, tensor.F32)
	if ld.d.arch().Norms == LayerNorms {
		n.Bias, n.DBias = ld.vector(path+".bias", width, tensor.F32)
	}
	return n
}

// vector is like weight for what is small; a frozen one is a copy in the arena, of the type that operations read.
func (ld *loader) vector(name string, n int, d tensor.DType) (v, dv ops.Tensor) {
	r, ok := ld.raw(name, n)
	if !ok {
		return
	}
	if p := ld.ps.ByName(name); p != nil {
		ld.ps.load(p, r)
		if d == tensor.F32 {
			return p.Value, p.Grad
		}
		return p.Compute, p.Grad
	}
	v = ld.arena.New(tensor.F32, n)
	upload(ld.b, v, r)
	if d != tensor.F32 {
		wide := v
		v = ld.arena.New(d, n)
		ld.b.Convert(v, wide)
	}
	return v, ops.Tensor{}
}

// uploadElems is how many elements are widened at a time.
const uploadElems = 1 << 20

// upload writes a base tensor's values into dst, float32, whatever the type they are stored in.
func upload(b ops.Backend, dst ops.Tensor, r tensor.Stored) {
	if r.Format.Type == tensor.F32 || r.Data == nil {
		b.Upload(dst, r.Data)
		return
	}
	flat, n := dst.Reshape(dst.Elems()), dst.Elems()
	wide := make([]float32, min(n, uploadElems))
	for lo := 0; lo < n; lo += uploadElems {
		part := wide[:min(uploadElems, n-lo)]
		tensor.Widen(part, r.Data[2*lo:2*(lo+len(part))], r.Format.Type)
		b.Upload(flat.Rows(lo, lo+len(part)), bytesOf(part))
	}
}
