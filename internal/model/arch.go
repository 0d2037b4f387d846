package model

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/tensor"
)

// Arch describes a family of models: what its checkpoints hold, which fields of config.json mean what, and what its
// layers compute. A family is one file of data, arch_NAME.go; block.go composes its layers, and nothing else asks which
// one it is.
type Arch struct {
	Class, Type       string   // config.json's architectures and model_type
	Embed, Norm, Head string   // the modules outside the layers
	HeadModule        string   // what transformers calls the head in memory, and so PEFT, where it is not as on disk
	Layers            string   // what stands before a layer's number in the names of its modules
	Modules           []Module // a layer's modules in the order of their use
	Norms             NormKind
	WholeQK           bool // q's and k's norms, where there are any, are of all heads together
	Config            Fields
}

// NormKind is how a family norms.
type NormKind uint8

const (
	// RMSNorms divide by the root mean square.
	RMSNorms NormKind = iota
	// RMSNormsPlus1 do, and multiply by 1 + w.
	RMSNormsPlus1
	// LayerNorms take the mean off and divide by the deviation; they have a bias.
	LayerNorms
)

// Activation is what a family's gate, or the one product before it, goes through.
type Activation uint8

const (
	// SiLU is x·σ(x).
	SiLU Activation = iota
	// GELU is exact.
	GELU
	// GELUTanh is GELU by tanh.
	GELUTanh
)

// Module is one module of a layer: a linear layer or a norm.
type Module struct {
	Name  string // below the layer, "self_attn.q_proj"
	Roles []Role // one; of a fused matrix the roles of its rows, from the first on
}

func module(name string, roles ...Role) Module { return Module{name, roles} }

// Role is what a tensor does in a model.
type Role uint8

// The linear layers of a layer, in the order of their products; the norms of a layer; and what stands outside the
// layers.
const (
	Q Role = iota
	K
	V
	O
	Gate
	Up
	Down
	QKV // the three of each head one after the other
	linears

	AttnIn  // the norm before attention
	AttnOut // of what attention adds to the residual stream
	MLPIn   // before the MLP
	MLPOut  // of what the MLP adds
	QNorm   // of the queries, before they are turned
	KNorm   // of the keys
	Embed
	FinalNorm
	Head

	norms = Embed - AttnIn
)

// norm reports whether the role is a norm's.
func (r Role) norm() bool { return r >= AttnIn && r < Embed || r == FinalNorm }

// Fields say which fields of config.json mean what in a family, beside those that all families have, and what missing
// ones are taken for, as in transformers.
type Fields struct {
	KVHeads int           // num_key_value_heads; 0: as many as there are heads
	HeadDim int           // head_dim; 0: a head's share of the width
	Eps     float64       // rms_norm_eps; 0: 1e-6
	Theta   float64       // rope_theta; 0: 10000
	Tied    bool          // tie_word_embeddings
	Always  func(d *Desc) // what is so whatever config.json says; nil for nothing
	Numbers []Number      // numbers above 0
	Flags   []Flag        // booleans
	Windows Windowed      // which layers have a sliding window
	NoRope  bool          // no_rope_layers and no_rope_layer_interval say which layers have no positions
	// How the fields are called, and what they are taken for, where that is not as in LLaMA.
	EpsName, ThetaName, PartialName string
	PartialDefault                  float64
	ActName, ActDefault             string
	Acts                            map[string]Activation // by the names that config.json may have; nil: SiLU alone
	// the only type of scaled positions that transformers reads of the family; "" for all
	Long    string
	Partial bool // partial_rotary_factor says what share of a head is turned
}

// Number is a field that sets a number of the description.
type Number struct {
	Name    string
	Default float64
	Set     func(*Desc, float64)
}

// Flag is a boolean field. One that sets nothing must be false, because the family has nothing of the kind.
type Flag struct {
	Name    string
	Set     func(*Desc) // what true means
	Default bool
}

// Windowed is a family's rule for which layers have a sliding window.
type Windowed uint8

const (
	// NoWindows is of a family whose layers have none, whatever config.json says.
	NoWindows Windowed = iota
	// AllWindows is of one whose layers all have the window of sliding_window, but where layer_types says which. Mistral's
	// is 4096 tokens where config.json does not name the field.
	AllWindows
	// NamedWindows is the same for one that has none where config.json does not name the field.
	NamedWindows
	// EvenWindows is of one whose layers 0, 2, 4 … have the window of sliding_window, 4096 where the field is missing, but
	// where layer_types says which.
	EvenWindows
	// LateWindows is of one that has windows where use_sliding_window is true: in the layers that layer_types says, or
	// else from max_window_layers on.
	LateWindows
)

// Archs are the families that are computed, in the order in which a message lists them.
var Archs = []*Arch{&Llama, &Mistral, &Qwen2, &Qwen3, &Phi3, &Granite, &SmolLM3, &Olmo2, &GPTNeoX, &Gemma2}

// ArchOf is the family of a class of config.json's architectures, nil where it is none of them.
func ArchOf(class string) *Arch {
	if i := slices.IndexFunc(Archs, func(a *Arch) bool { return a.Class == class }); i >= 0 {
		return Archs[i]
	}
	return nil
}

// Classes lists the classes that are computed: "A, B and C".
func Classes() string {
	var names []string
	for _, a := range Archs {
		names = append(names, a.Class)
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
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

// TensorSpec is one tensor of a checkpoint.
type TensorSpec struct {
	Name  string
	Role  Role // of a fused matrix that of its first rows
	Kind  Kind
	Layer int // -1 outside the layers
	Shape tensor.Shape
}

// Module is the path of the module that the tensor belongs to: its name without the last part.
func (s TensorSpec) Module() string { return s.Name[:strings.LastIndexByte(s.Name, '.')] }

// Target is the module's own name, as options and PEFT select linear layers.
func (s TensorSpec) Target() string {
	m := s.Module()
	return m[strings.LastIndexByte(m, '.')+1:]
}

// Linear reports whether the tensor is the weight of a linear layer of a layer: what can have low-rank factors.
func (s TensorSpec) Linear() bool { return s.Kind == KindMatrix && s.Layer >= 0 }

// Norm reports whether the tensor is part of a norm.
func (s TensorSpec) Norm() bool { return s.Role.norm() }

// NormStart is the weight of a norm that only norms.
func (d Desc) NormStart() float32 {
	if d.arch().Norms == RMSNormsPlus1 {
		return 0
	}
	return 1
}

// arch is the family; a description without one is of a LLaMA.
func (d Desc) arch() *Arch {
	if d.Arch == nil {
		return &Llama
	}
	return d.Arch
}

// Tensors lists every tensor of a checkpoint of this model, in the model's order.
func (d Desc) Tensors() []TensorSpec {
	a := d.arch()
	s := []TensorSpec{{d.EmbedName(), Embed, KindMatrix, -1, tensor.Shape{d.V, d.C}}}
	for l := range d.L {
		s = append(s, d.LayerTensors(l)...)
	}
	s = append(s, d.normTensors(a.Norm, FinalNorm, -1)...)
	if !d.Tied {
		s = append(s, TensorSpec{d.HeadName(), Head, KindMatrix, -1, tensor.Shape{d.V, d.C}})
	}
	return s
}

// LayerTensors lists the tensors of layer l.
func (d Desc) LayerTensors(l int) (s []TensorSpec) {
	for _, p := range d.arch().Modules {
		r, path := p.Roles[0], d.path(p, l)
		if r.norm() {
			s = append(s, d.normTensors(path, r, l)...)
			continue
		}
		out, in := d.extents(p)
		s = append(s, TensorSpec{path + ".weight", r, KindMatrix, l, tensor.Shape{out, in}})
		if d.Bias[r] {
			s = append(s, TensorSpec{path + ".bias", r, KindBias, l, tensor.Shape{out}})
		}
	}
	return s
}

// normTensors are those of a norm.
func (d Desc) normTensors(path string, r Role, l int) []TensorSpec {
	s := []TensorSpec{{path + ".weight", r, KindNorm, l, tensor.Shape{d.width(r)}}}
	if d.arch().Norms == LayerNorms {
		s = append(s, TensorSpec{path + ".bias", r, KindBias, l, tensor.Shape{d.width(r)}})
	}
	return s
}

// path is the path of a part of layer l, "model.layers.0.self_attn.q_proj".
func (d Desc) path(p Module, l int) string { return fmt.Sprintf("%s%d.%s", d.arch().Layers, l, p.Name) }

// extents are the (out, in) extents of a linear layer as it lies on disk.
func (d Desc) extents(p Module) (out, in int) {
	for _, r := range p.Roles {
		n, k := d.Dims(r)
		out, in = out+n, k
	}
	return out, in
}

// width is the extent of what a norm works on.
func (d Desc) width(r Role) int {
	switch {
	case r == QNorm && d.arch().WholeQK:
		return d.H * d.D
	case r == KNorm && d.arch().WholeQK:
		return d.Hkv * d.D
	case r == QNorm || r == KNorm:
		return d.D
	}
	return d.C
}

// Has reports whether the family's layers have a module of the role.
func (d Desc) Has(r Role) bool {
	return slices.ContainsFunc(d.arch().Modules, func(m Module) bool { return slices.Contains(m.Roles, r) })
}

// EmbedName is the name of the embedding.
func (d Desc) EmbedName() string { return d.arch().Embed + ".weight" }

// HeadName is the name of the output head.
func (d Desc) HeadName() string { return d.arch().Head + ".weight" }

// HeadModule is another name of the head's module, which PEFT may have in its files; "" where there is none.
func (d Desc) HeadModule() string { return d.arch().HeadModule }

// Targets are the names of a layer's linear layers, in order; attention's alone where only they are asked for.
func (d Desc) Targets(attention bool) (names []string) {
	for _, p := range d.arch().Modules {
		if r := p.Roles[0]; !r.norm() && (r <= O || r == QKV || !attention) {
			names = append(names, p.Name[strings.LastIndexByte(p.Name, '.')+1:])
		}
	}
	return names
}
