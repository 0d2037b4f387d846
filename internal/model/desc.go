package model

import (
	"math"

	"longlora/internal/s2attn"
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

// scoreScale is the factor of the attention scores.
func (d Desc) scoreScale() float32 {
	if d.ScoresBy > 0 {
		return d.ScoresBy
	}
	return float32(1 / math.Sqrt(float64(d.D)))
}
