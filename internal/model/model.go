// Package model is the LLaMA family as data, and one training step over it: forward and backward by tiles
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

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Desc describes a model of the LLaMA family.
type Desc struct {
	C, F, L, H, Hkv, D, V int
	Eps                   float32
	Tied                  bool          // the output head is the embedding
	Bias                  [targets]bool // the linear layers that have a bias, in every layer
	Windows               []int         // by layer W of a sliding window, 0 where there is none; nil where no layer has one
}

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

// Target names one of a layer's linear layers by its Hugging Face name.
type Target int

// The linear layers of a LLaMA layer, in the order of their products.
const (
	Q Target = iota
	K
	V
	O
	Gate
	Up
	Down
	targets
)

var targetNames = [targets]string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

func (t Target) String() string { return targetNames[t] }

// Targets are the names of all linear layers of a layer, in order.
func Targets() []string { return append([]string{}, targetNames[:]...) }

// AllTargets are all linear layers of a layer, in order.
func AllTargets() []Target {
	ts := make([]Target, targets)
	for i := range ts {
		ts[i] = Target(i)
	}
	return ts
}

// Path is the module path of target t in layer l, "model.layers.0.self_attn.q_proj".
func (t Target) Path(l int) string {
	block := "self_attn"
	if t >= Gate {
		block = "mlp"
	}
	return fmt.Sprintf("model.layers.%d.%s.%s", l, block, t)
}

// Dims are the (out, in) extents of target t.
func (d Desc) Dims(t Target) (out, in int) {
	switch t {
	case Q:
		return d.H * d.D, d.C
	case K, V:
		return d.Hkv * d.D, d.C
	case O:
		return d.C, d.H * d.D
	case Down:
		return d.C, d.F
	}
	return d.F, d.C
}

// Names of the tensors outside the linear layers.
const (
	EmbedName = "model.embed_tokens.weight"
	NormName  = "model.norm.weight"
	HeadName  = "lm_head.weight"
)

// NormNames are the names of layer l's two norm weights, before attention and before the MLP.
func NormNames(l int) (attn, mlp string) {
	p := fmt.Sprintf("model.layers.%d.", l)
	return p + "input_layernorm.weight", p + "post_attention_layernorm.weight"
}

// Kind is what a tensor of a checkpoint is for. Its shape does not say it: norms and biases are both vectors.
type Kind uint8

const (
	// KindMatrix is a linear layer's weight, the embedding or the head.
	KindMatrix Kind = iota
	// KindNorm scales a normed vector.
	KindNorm
	// KindBias is added to what a linear layer gives.
	KindBias
)

// NamedShape is a tensor's name, kind and shape.
type NamedShape struct {
	Name  string
	Kind  Kind
	Shape tensor.Shape
}

// TensorShapes lists every tensor of a checkpoint of this model, in the model's order.
func (d Desc) TensorShapes() []NamedShape {
	s := []NamedShape{{EmbedName, KindMatrix, tensor.Shape{d.V, d.C}}}
	for l := range d.L {
		s = append(s, d.LayerShapes(l)...)
	}
	s = append(s, NamedShape{NormName, KindNorm, tensor.Shape{d.C}})
	if !d.Tied {
		s = append(s, NamedShape{HeadName, KindMatrix, tensor.Shape{d.V, d.C}})
	}
	return s
}

// LayerShapes lists the tensors of layer l.
func (d Desc) LayerShapes(l int) []NamedShape {
	n1, n2 := NormNames(l)
	s := []NamedShape{{n1, KindNorm, tensor.Shape{d.C}}}
	for t := range targets {
		out, in := d.Dims(t)
		s = append(s, NamedShape{t.Path(l) + ".weight", KindMatrix, tensor.Shape{out, in}})
		if d.Bias[t] {
			s = append(s, NamedShape{t.Path(l) + ".bias", KindBias, tensor.Shape{out}})
		}
		if t == O {
			s = append(s, NamedShape{n2, KindNorm, tensor.Shape{d.C}})
		}
	}
	return s
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
	for _, s := range d.TensorShapes() {
		if s.Kind == KindNorm && tr.Whole[s.Name] {
			return true
		}
	}
	return false
}

// Source gives the base's tensors by their Hugging Face names.
type Source func(name string) (tensor.Stored, error)

// Norm is a norm's weight and, when trained, its gradient.
type Norm struct {
	W, DW ops.Tensor // (C) float32
}

// Layer is one decoder layer.
type Layer struct {
	Norm1, Norm2 Norm
	Lin          [targets]ops.Linear
}

// Model holds the weights as the operations take them.
type Model struct {
	Desc
	Embed, Head   ops.Weight // (V,C); one when tied
	DEmbed, DHead ops.Tensor // (V,C) float32, their gradients; None when frozen
	Norm          Norm
	Layers        []Layer
	Params        *Params
}

// New sets a model up: frozen weights from the source through the backend, trained ones as float32 copies in
// the params arena. LoRA factors start at zero; set them with Params.Set.
func New(b ops.Backend, d Desc, tr Train, src Source, arena *ops.Arena) (*Model, error) {
	m := &Model{Desc: d, Layers: make([]Layer, d.L)}
	ps := newParams(b, d, tr, arena)
	m.Params = ps
	if card, ok := b.(ops.Card); ok {
		if err := card.ReserveWeights(frozen(d, ps)); err != nil {
			return nil, err
		}
	}
	ld := loader{b: b, src: src, ps: ps, arena: arena}
	m.Embed, m.DEmbed = ld.weight(EmbedName, d.V, d.C)
	for l := range m.Layers {
		y := &m.Layers[l]
		n1, n2 := NormNames(l)
		y.Norm1, y.Norm2 = ld.norm(n1, d.C), ld.norm(n2, d.C)
		for t := range targets {
			out, in := d.Dims(t)
			lin := &y.Lin[t]
			lin.W, lin.DW = ld.weight(t.Path(l)+".weight", out, in)
			if d.Bias[t] {
				lin.Bias, lin.DBias = ld.vector(t.Path(l)+".bias", out, b.Act())
			}
			if low, ok := tr.LoRA[t.Path(l)]; ok {
				lin.LoRA = ps.lora(t.Path(l), low.Scale, ops.Dropout{P: float32(tr.Drop), Stream: uint64(l)*uint64(targets) + uint64(t)})
			}
		}
	}
	m.Norm = ld.norm(NormName, d.C)
	if d.Tied {
		m.Head, m.DHead = m.Embed, m.DEmbed
	} else {
		m.Head, m.DHead = ld.weight(HeadName, d.V, d.C)
	}
	if ld.err != nil {
		_ = m.Release() // the first error is what counts
		return nil, ld.err
	}
	return m, nil
}

// frozen is the memory that the matrices take which are not trained, in the arena's alignment; vectors lie elsewhere.
func frozen(d Desc, ps *Params) int64 {
	n := int64(0)
	for _, s := range d.TensorShapes() {
		if s.Kind == KindMatrix && ps.ByName(s.Name) == nil {
			n += ops.Room(tensor.Dense(ps.b.Act()), s.Shape)
		}
	}
	return n
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
	b     ops.Backend
	src   Source
	ps    *Params
	arena *ops.Arena
	err   error
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

// weight returns the tensor that operations read and, when it is trained, its gradient.
func (ld *loader) weight(name string, shape ...int) (w ops.Weight, dw ops.Tensor) {
	r, ok := ld.raw(name, shape...)
	if !ok {
		return
	}
	if p := ld.ps.ByName(name); p != nil {
		p.load(ld.b, r)
		return ops.WeightOf(p.Compute), p.Grad
	}
	w, ld.err = ld.b.Weight(r)
	return w, ops.Tensor{}
}

// norm is a norm's weight, which operations read in float32.
func (ld *loader) norm(name string, c int) Norm {
	w, dw := ld.vector(name, c, tensor.F32)
	return Norm{W: w, DW: dw}
}

// vector is like weight for what is small; a frozen one is a copy in the arena, of the type that operations read.
func (ld *loader) vector(name string, n int, d tensor.DType) (v, dv ops.Tensor) {
	r, ok := ld.raw(name, n)
	if !ok {
		return
	}
	if p := ld.ps.ByName(name); p != nil {
		p.load(ld.b, r)
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
func (d Desc) scoreScale() float32 { return float32(1 / math.Sqrt(float64(d.D))) }
