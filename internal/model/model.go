// Package model is families of models as data, and one training step over them: forward and backward by tiles
// along the sequence, written on ops.Backend alone.
//
// # The step
//
// All rows of a micro-batch lie end to end in one sequence of N tokens, divided into tiles of T. Attention is
// local (package s2attn), so a tile needs of earlier tokens only the keys and values since its segments'
// starts: the halo. A step runs the tiles forward, keeping halos alone, then backward from the last tile to
// the first, each made again with its activations kept, handing dK and dV of its halo to the tiles before it.
// One tile (T = N) is the same code with no halo and nothing made again.
//
// # Memory
//
// Everything is taken from arenas. Running the same step on a counting backend and counting arenas says what
// it will need; see package plan.
package model

import (
	"fmt"
	"math"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Desc describes a model.
type Desc struct {
	Arch                  *Arch // its family, a LLaMA where nil
	C, F, L, H, Hkv, D, V int
	Eps                   float32
	Tied                  bool          // the output head is the embedding
	Bias                  [linears]bool // by role the linear layers that have a bias, in every layer
	// by layer W of a sliding window, 0 where there is none; nil where no layer has one
	Windows  []int
	Parallel bool   // attention and MLP read one input, and both are added to it
	NoRope   []bool // the layers without positions; nil where all have them
	Rotary   int    // channels of a head that are turned; 0: all
	// What the embedding, attention's scores, what a branch adds to the residual stream, and the logits are multiplied by;
	// 0: by nothing, the scores by 1/√D.
	EmbedBy, ScoresBy, BranchBy, LogitsBy float32
	EmbedRounded                          bool // EmbedBy is rounded to the activations' type
	// What caps scores and logits, z becoming Cap·tanh(z/Cap); 0: nothing.
	ScoresCap, LogitsCap float32
	Act                  Activation
}

// RotaryDim is how many channels of a head are turned.
func (d Desc) RotaryDim() int {
	if d.Rotary > 0 {
		return d.Rotary
	}
	return d.D
}

// unturned reports whether layer l has no positions.
func (d Desc) unturned(l int) bool { return l < len(d.NoRope) && d.NoRope[l] }

// Attends is how layer l attends in a model whose layers without a window attend as spec says.
func (d Desc) Attends(l int, spec s2attn.Spec) s2attn.Spec {
	if l < len(d.Windows) && d.Windows[l] > 0 {
		return s2attn.Windowed(d.Windows[l])
	}
	return spec
}

// Windowed is the number of layers with a window.
func (d Desc) Windowed() int {
	n := 0
	for _, w := range d.Windows {
		if w > 0 {
			n++
		}
	}
	return n
}

// Unsegmented reports whether every layer has a window: then there is none that S²-Attn acts on.
func (d Desc) Unsegmented() bool { return d.Windowed() == d.L }

// Dims are the (out, in) extents of a linear layer.
func (d Desc) Dims(r Role) (out, in int) {
	switch r {
	case Q:
		return d.H * d.D, d.C
	case K, V:
		return d.Hkv * d.D, d.C
	case O:
		return d.C, d.H * d.D
	case Down:
		return d.C, d.F
	case QKV:
		return 3 * d.H * d.D, d.C
	}
	return d.F, d.C
}

// Train says what is trained.
type Train struct {
	Full   bool               // every tensor
	Whole  map[string]bool    // the tensors that are trained whole, by name
	LoRA   map[string]LowRank // the low-rank terms of linear layers, by module path; the others have none
	Drop   float64            // probability at which inputs of low-rank terms are dropped
	Frozen bool               // nothing: for evaluation; low-rank terms are still applied
}

// LowRank is the size of a linear layer's low-rank term Scale·B·A.
type LowRank struct {
	Rank  int
	Scale float32
}

// TrainsNorms reports whether any of the norms is trained.
func (d Desc) TrainsNorms(tr Train) bool {
	for _, s := range d.Tensors() {
		if s.Norm() && tr.Whole[s.Name] {
			return true
		}
	}
	return false
}

// Source gives the base's tensors by their Hugging Face names.
type Source func(name string) (tensor.Stored, error)

// Formats says how the base's matrices are stored, by their names.
type Formats func(name string) tensor.Format

// AllIn is for matrices of one format.
func AllIn(f tensor.Format) Formats { return func(string) tensor.Format { return f } }

// Norm is a norm's weight and, when trained, its gradient.
type Norm struct {
	W, DW       ops.Tensor // (C) float32
	Bias, DBias ops.Tensor // (C) float32; None but with LayerNorm
}

// Layer is one decoder layer.
type Layer struct {
	Norm  [norms]Norm // by role, from AttnIn on; without a weight where the family has none there
	Lin   [linears]ops.Linear
	still [linears]bool // the roles whose matrices are frozen
}

// norm is the norm of a role.
func (y *Layer) norm(r Role) *Norm { return &y.Norm[r-AttnIn] }

// Model holds the weights as the operations take them.
type Model struct {
	Desc
	Embed, Head   ops.Weight // (V,C); one when tied
	DEmbed, DHead ops.Tensor // (V,C) float32, their gradients; None when frozen
	Norm          Norm
	Layers        []Layer
	Params        *Params
	stream        *streamer // nil where all frozen matrices are resident
	parts         *Parts    // how they can be divided; nil where there is one process
}

// Memory is what a model is made in.
type Memory struct {
	Params *ops.Arena // what is trained, and small tensors that are not
	Format Formats    // how frozen matrices come; nil: in the activations' type
	Stream int        // layers whose frozen matrices wait in host memory
	// The host memory that they wait in, and the device memory that they come to; nil where none are.
	Waiting, Slots *ops.Arena
	Shard          int    // layers whose frozen matrices are divided; then none are streamed
	Parts          *Parts // how; nil for one process
	// The host memory that values and moments of whole matrices wait in, and all else of an embedding that is not the
	// head; nil where they lie with the others.
	State *ops.Arena
	Piece int // elements of those that come to the device at a time; 0: as many as suit a copy
}

// New sets a model up: frozen weights from the source through the backend, those of streamed layers into host memory,
// trained ones as float32 copies. LoRA factors start at zero; set them with Params.Set.
func New(b ops.Backend, d Desc, tr Train, src Source, mem Memory) (*Model, error) {
	m := &Model{Desc: d, Layers: make([]Layer, d.L), parts: mem.Parts}
	ps := newParams(b, d, tr, mem)
	m.Params = ps
	away := mem.Waiting // the memory of what is not resident
	switch {
	case mem.Shard > 0:
		m.stream, away = newStreamer(b, m, mem.Shard, mem.Parts), mem.Parts.Own
	case mem.Stream > 0:
		m.stream = newStreamer(b, m, mem.Stream, nil)
	}
	if card, ok := b.(ops.Card); ok {
		if err := card.ReserveWeights(frozen(d, ps, mem)); err != nil {
			return nil, err
		}
	}
	ld := loader{d: d, b: b, src: src, ps: ps, mem: mem, arena: mem.Params}
	m.Embed, m.DEmbed = ld.weight(d.EmbedName(), d.V, d.C)
	for l := range m.Layers {
		ld.layer(m, l, tr, away)
	}
	m.Norm = ld.norm(d.arch().Norm, d.C)
	if d.Tied {
		m.Head, m.DHead = m.Embed, m.DEmbed
	} else {
		m.Head, m.DHead = ld.weight(d.HeadName(), d.V, d.C)
	}
	if m.stream != nil && ld.err == nil {
		m.stream.place(mem.Slots)
		ld.err = m.stream.join()
	}
	if ld.err != nil {
		_ = m.Release() // the first error is what counts
		return nil, ld.err
	}
	return m, nil
}

// frozen is the memory that the matrices take which are neither trained nor of a streamed layer, in the arena's
// alignment; vectors lie elsewhere.
func frozen(d Desc, ps *Params, mem Memory) int64 {
	n := int64(0)
	for _, s := range d.Tensors() {
		if s.Layer < 0 || !streams(s.Layer, mem.Stream+mem.Shard, d.L) {
			n += room(d, ps, mem, s)
		}
	}
	return n
}

// room is the memory that a tensor takes if it is a matrix that is not trained, in the arena's alignment.
func room(d Desc, ps *Params, mem Memory, s TensorSpec) (n int64) {
	if s.Kind != KindMatrix || ps.ByName(s.Name) != nil {
		return 0
	}
	f := tensor.Dense(ps.b.Act())
	if mem.Format != nil {
		f = ops.Held(mem.Format(s.Name), ps.b.Act())
	}
	for _, rows := range d.rowsOf(s) {
		n += ops.Room(f, tensor.Shape{rows, s.Shape[1]})
	}
	return n
}

// rowsOf are the numbers of rows that a matrix is held in: those of its roles.
func (d Desc) rowsOf(s TensorSpec) []int {
	if s.Layer >= 0 {
		for _, p := range d.arch().Modules {
			if p.Roles[0] == s.Role {
				return d.split(p)
			}
		}
	}
	return []int{s.Shape[0]}
}

// Release gives back what frozen tensors take of a device's memory.
func (m *Model) Release() error {
	if card, ok := m.Params.b.(ops.Card); ok {
		return card.FreeWeights()
	}
	return nil
}

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

// scoreScale is the factor of the attention scores.
func (d Desc) scoreScale() float32 {
	if d.ScoresBy > 0 {
		return d.ScoresBy
	}
	return float32(1 / math.Sqrt(float64(d.D)))
}
