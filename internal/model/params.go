package model

import (
	"math"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Param is one trained tensor, float32, with its gradient and AdamW's moments.
type Param struct {
	Name             string // Hugging Face name, or the module path with ".lora_A.weight" or ".lora_B.weight"
	Shape            tensor.Shape
	Value, Grad      ops.Tensor // float32
	Moment1, Moment2 ops.Tensor // float32; None when nothing is trained
	Compute          ops.Tensor // act: what the operations read; Value itself where act is float32
	Decay            bool       // weight decay applies: to everything but norms
	Outer            bool       // embedding, head or norm, which have a rate of their own
	off, allocated   int        // place in the slabs, in elements
	waits            bool       // Value and moments lie in host memory; all of an embedding that is not the head
}

// Params are all trained tensors. Values, gradients and moments lie in one slab each, in the order of List,
// those that decay first, so that norms and updates are few calls over long vectors. Values and moments of whole
// matrices, which come first of all, may wait in host memory, and so may all else of the embedding: see state.
type Params struct {
	List                    []*Param
	byName                  map[string]*Param
	value, grad, mom1, mom2 ops.Tensor // (n) float32, without what waits
	compute, table          ops.Tensor // (n) act; where act is float32 only of what waits. table waits: the sparse ones
	norm2                   ops.Tensor // (1) float64
	matrices                int        // elements of the slabs that are whole matrices'
	sparse                  int        // of these, first of all, an embedding's of which a step's tokens have few rows
	normed                  int        // elements of the sparse ones that go into the norm together: a piece of sums
	state                   state
	b                       ops.Backend
}

// newParams lists what is trained and lays it out.
func newParams(b ops.Backend, d Desc, tr Train, mem Memory) *Params {
	ps := &Params{byName: map[string]*Param{}, b: b, normed: sumsPieces * mem.piece(d.C)}
	specs := d.Tensors()
	whole := func(norms bool) {
		for _, s := range specs {
			if s.Norm() == norms && !tr.Frozen && (tr.Full || tr.Whole[s.Name]) {
				ps.add(&Param{Name: s.Name, Shape: s.Shape, Decay: !norms, Outer: norms || s.Layer < 0})
			}
		}
	}
	whole(false)
	ps.matrices = ps.elems()
	if p := ps.ByName(d.EmbedName()); p != nil && !d.Tied {
		ps.sparse = p.allocated
	}
	for _, s := range specs {
		if low, ok := tr.LoRA[s.Module()]; ok && s.Linear() {
			ps.add(&Param{Name: s.Module() + ".lora_A.weight", Shape: tensor.Shape{low.Rank, s.Shape[1]}, Decay: true})
			ps.add(&Param{Name: s.Module() + ".lora_B.weight", Shape: tensor.Shape{s.Shape[0], low.Rank}, Decay: true})
		}
	}
	whole(true)
	ps.layout(d, mem, tr.Frozen)
	return ps
}

// slabAlign keeps every parameter of a slab aligned as an arena's tensors are, in float32 elements.
const slabAlign = ops.Align / 4

func (ps *Params) add(p *Param) {
	p.allocated = (p.Shape.Elems() + slabAlign - 1) / slabAlign * slabAlign
	p.off = ps.elems()
	ps.List = append(ps.List, p)
	ps.byName[p.Name] = p
}

// elems is the length of the slabs so far.
func (ps *Params) elems() int {
	if n := len(ps.List); n > 0 {
		return ps.List[n-1].off + ps.List[n-1].allocated
	}
	return 0
}

// layout takes the slabs, whose memory is zeroed when it is new, and cuts them up.
func (ps *Params) layout(d Desc, mem Memory, frozen bool) {
	arena, n, waits := mem.Params, ps.elems(), 0
	ps.norm2 = arena.New(tensor.F64, 1)
	if mem.State != nil {
		waits = ps.matrices
		ps.state = newState(ps.b, d, mem, waits, ps.sparse)
	}
	sums := ps.state.sums.n
	ps.value = arena.New(tensor.F32, n-waits)
	if !frozen {
		ps.grad = arena.New(tensor.F32, n-sums)
		ps.mom1, ps.mom2 = arena.New(tensor.F32, n-waits), arena.New(tensor.F32, n-waits)
	}
	act, computed := ps.b.Act(), n
	if act == tensor.F32 {
		computed = waits
	}
	if computed > sums {
		ps.compute = arena.New(act, computed-sums)
	}
	if sums > 0 {
		ps.table = mem.State.New(act, sums)
	}
	for _, p := range ps.List {
		cut := func(s ops.Tensor, off int) ops.Tensor {
			if s.None() {
				return s
			}
			return s.Rows(off, off+p.Shape.Elems()).Reshape(p.Shape...)
		}
		compute, from := ps.compute, p.off-sums
		if p.Grad = ps.state.sums.table; p.off < sums {
			compute, from = ps.table, p.off
		} else {
			p.Grad = cut(ps.grad, from)
		}
		if p.waits = p.off < waits; p.waits {
			x := ps.state.host
			p.Value, p.Moment1, p.Moment2 = cut(x[0], p.off), cut(x[1], p.off), cut(x[2], p.off)
		} else {
			off := p.off - waits
			p.Value, p.Moment1, p.Moment2 = cut(ps.value, off), cut(ps.mom1, off), cut(ps.mom2, off)
		}
		if p.Compute = p.Value; p.waits || ps.b.Act() != tensor.F32 {
			p.Compute = cut(compute, from)
		}
	}
}

// ByName is the parameter of that name, or nil.
func (ps *Params) ByName(name string) *Param { return ps.byName[name] }

// Count is the number of trained elements.
func (ps *Params) Count() int64 {
	n := int64(0)
	for _, p := range ps.List {
		n += int64(p.Shape.Elems())
	}
	return n
}

// lora makes the low-rank part of the linear layer at the module path.
func (ps *Params) lora(path string, scale float32, drop ops.Dropout) *ops.LoRA {
	a, b := ps.ByName(path+".lora_A.weight"), ps.ByName(path+".lora_B.weight")
	return &ops.LoRA{A: a.Compute, B: b.Compute, DA: a.Grad, DB: b.Grad, Scale: scale, Drop: drop}
}

// load starts the parameter from a base tensor.
func (ps *Params) load(p *Param, r tensor.Stored) {
	if p.waits {
		ps.state.load(p, r)
		return
	}
	upload(ps.b, p.Value, r)
	if p.Compute.DType != tensor.F32 {
		ps.b.Convert(p.Compute, p.Value)
	}
}

// Set gives a parameter its value; v has as many elements.
func (ps *Params) Set(p *Param, v []float32) {
	ps.load(p, tensor.Stored{Format: tensor.Dense(tensor.F32), Shape: p.Shape, Data: bytesOf(v)})
}

// Get reads a parameter's float32 tensor (its Value, Grad, Moment1 or Moment2).
func (ps *Params) Get(t ops.Tensor) ([]float32, error) {
	v := make([]float32, t.Elems())
	return v, ps.Read(v, t)
}

// Read is Get of as many elements of one of those tensors as v has room for.
func (ps *Params) Read(v []float32, t ops.Tensor) error {
	if t.Where == ops.Host {
		return ps.state.read(v, t)
	}
	return ps.b.Download(bytesOf(v), t)
}

// SetMoments gives a parameter AdamW's moments.
func (ps *Params) SetMoments(p *Param, m, v []float32) {
	if p.waits {
		ps.state.fill(p.Moment1, m)
		ps.state.fill(p.Moment2, v)
		return
	}
	ps.b.Upload(p.Moment1, bytesOf(m))
	ps.b.Upload(p.Moment2, bytesOf(v))
}

// ZeroGrad clears every gradient.
func (ps *Params) ZeroGrad() {
	ps.b.Zero(ps.grad)
	ps.state.sums.clear()
}

// Occur notes tokens of which the embedding's rows are about to have gradients.
func (ps *Params) Occur(ids []int32) { ps.state.sums.add(ids) }

// Occurred tells other ranks of which rows of the embedding there are gradients; nil where those are on the device.
func (ps *Params) Occurred() []byte { return bytesOf(ps.state.sums.rows) }

// OccurElsewhere adds rows that another rank tells of.
func (ps *Params) OccurElsewhere(rows []byte) {
	own := ps.Occurred()
	for i := range rows {
		own[i] |= rows[i]
	}
	ps.state.sums.stale = true
}

// Change has f change all gradients, a long vector at a time: it puts the sums over all ranks in their place, who have
// told each other of the rows that occurred. (≤ n) float32
func (ps *Params) Change(f func(t ops.Tensor) error) error {
	if err := f(ps.grad); err != nil {
		return err
	}
	return ps.state.sums.change(f)
}

// GradNorm is the L2 norm over every trained tensor's gradient, a tied one once. It is summed up in the same order
// wherever gradients wait.
func (ps *Params) GradNorm() (float64, error) {
	ps.b.Zero(ps.norm2)
	for lo := 0; lo < ps.sparse; lo += ps.normed {
		ps.b.SumSquares(ps.norm2, ps.gradient(lo, min(lo+ps.normed, ps.sparse)))
	}
	ps.b.SumSquares(ps.norm2, ps.gradient(ps.sparse, ps.elems()))
	n2, err := scalar(ps.b, ps.norm2)
	return math.Sqrt(n2), err
}

// gradient is elements [lo, hi) of all gradients, on the device until the next call; what waits a piece at a time.
func (ps *Params) gradient(lo, hi int) ops.Tensor {
	s := &ps.state.sums
	if lo < s.n {
		return s.take(lo, hi)
	}
	return ps.grad.Rows(lo-s.n, hi-s.n)
}

// computed is where elements [lo, hi) lie that operations read.
func (ps *Params) computed(lo, hi int) ops.Tensor {
	if n := ps.state.sums.n; lo >= n {
		return ps.compute.Rows(lo-n, hi-n)
	}
	return ps.table.Rows(lo, hi)
}

// Update is one AdamW step on every trained tensor at the rate h.LR, of embedding, head and norms at the rate outer;
// h.Decay is not applied to norms. Tensors that lie together and have the same rate and decay are one call.
func (ps *Params) Update(h ops.AdamW, outer float64) {
	of := func(p *Param) ops.AdamW {
		h := h
		if p.Outer {
			h.LR = outer
		}
		if !p.Decay {
			h.Decay = 0
		}
		return h
	}
	for i := 0; i < len(ps.List); {
		first := ps.List[i]
		last := first
		for i++; i < len(ps.List) && of(ps.List[i]) == of(first) && ps.List[i].Decay == first.Decay; i++ {
			last = ps.List[i]
		}
		ps.update(first.off, last.off+last.allocated, of(first))
	}
}

// update is the step on elements [lo, hi) of the slabs.
func (ps *Params) update(lo, hi int, h ops.AdamW) {
	waits := ps.state.elems()
	for _, end := range []int{min(hi, ps.state.sums.n), min(hi, waits)} { // no piece is of both
		if lo < end {
			ps.state.update(lo, end, ps.gradient, ps.computed, h)
			lo = end
		}
	}
	if lo >= hi {
		return
	}
	c := ops.Tensor{}
	if ps.b.Act() != tensor.F32 {
		c = ps.computed(lo, hi)
	}
	i, j := lo-waits, hi-waits
	ps.b.AdamW(ps.value.Rows(i, j), ps.mom1.Rows(i, j), ps.mom2.Rows(i, j), ps.gradient(lo, hi), c, h)
}

// scalar reads one float64 and waits for it.
func scalar(b ops.Backend, t ops.Tensor) (float64, error) {
	var v [1]float64
	err := b.Download(bytesOf(v[:]), t)
	return v[0], err
}

// bytesOf views numbers as bytes in the machine's order, which is little-endian wherever this builds.
func bytesOf[T float32 | float64 | int32 | uint64](v []T) []byte {
	var z T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(z)))
}
