package export

import (
	"fmt"

	"longlora/internal/model"
)

// arch is a family as llama.cpp computes it.
type arch struct {
	name string // of the architecture
	// q and k are turned in pairs of neighbouring channels, not of one and the one half a head away, so their rows are
	// written in that order
	pairs bool
	// factors are the frequencies' factors that may lie beside the weights: "freqs" (one list), "long" (two lists, by the
	// length of the context), or "" for none
	factors string
	biases  []model.Role // of linear layers, that may be there
	always  []model.Role // of those, that must be there
	head    bool         // the head is written even where it is the embedding
	noHead  bool         // the head is always the embedding
	square  bool         // heads times channels are the width
	names   map[model.Role]string
}

// llamaNames are the modules of a layer, as most architectures call them.
var llamaNames = map[model.Role]string{
	model.Embed: "token_embd", model.FinalNorm: "output_norm", model.Head: "output",
	model.AttnIn: "attn_norm", model.Q: "attn_q", model.K: "attn_k", model.V: "attn_v", model.O: "attn_output",
	model.QNorm: "attn_q_norm", model.KNorm: "attn_k_norm", model.MLPIn: "ffn_norm", model.Gate: "ffn_gate",
	model.Up: "ffn_up", model.Down: "ffn_down", model.QKV: "attn_qkv", model.AttnOut: "post_attention_norm",
	model.MLPOut: "post_ffw_norm",
}

// renamed are the names with some changed.
func renamed(changes map[model.Role]string) map[model.Role]string {
	out := map[model.Role]string{}
	for r, n := range llamaNames {
		out[r] = n
	}
	for r, n := range changes {
		out[r] = n
	}
	return out
}

var (
	qkvBias = []model.Role{model.Q, model.K, model.V}
	llama   = arch{name: "llama", pairs: true, factors: "freqs", names: llamaNames,
		biases: []model.Role{model.Q, model.K, model.V, model.O, model.Gate, model.Up, model.Down}}
)

// archs are the families by their architectures: what llama.cpp's src/models/NAME.cpp loads and computes.
var archs = map[*model.Arch]arch{
	&model.Llama:   llama,
	&model.Mistral: llama, // without windows it is one
	&model.Granite: {name: "granite", pairs: true, factors: "freqs", biases: llama.biases, names: llamaNames},
	&model.Qwen2:   {name: "qwen2", biases: qkvBias, square: true, names: llamaNames},
	&model.Qwen3:   {name: "qwen3", biases: qkvBias, names: llamaNames},
	&model.SmolLM3: {name: "smollm3", pairs: true, biases: qkvBias, names: llamaNames},
	&model.Olmo2:   {name: "olmo2", head: true, square: true, names: llamaNames},
	&model.Gemma2:  {name: "gemma2", noHead: true, names: llamaNames},
	// gate and up lie in one matrix, as q, k and v do
	&model.Phi3: {name: "phi3", factors: "long", square: true, names: renamed(map[model.Role]string{
		model.Q: "attn_qkv", model.Gate: "ffn_up"})},
	&model.GPTNeoX: {name: "gptneox", head: true, square: true,
		biases: []model.Role{model.QKV, model.O, model.Gate, model.Down}, always: []model.Role{model.QKV, model.O},
		names: renamed(map[model.Role]string{model.Gate: "ffn_up"})},
}

// tensorName is llama.cpp's name of a tensor.
func (a *arch) tensorName(s model.TensorSpec) string {
	name := a.names[s.Role]
	if s.Layer >= 0 {
		name = fmt.Sprintf("blk.%d.%s", s.Layer, name)
	}
	if s.Kind == model.KindBias {
		return name + ".bias"
	}
	return name + ".weight"
}

// row is which row of a tensor is written as row i; nil where rows stay where they are. d is the channels of a head.
func (a *arch) row(s model.TensorSpec, d model.Desc) func(i int) int {
	switch {
	case s.Norm():
		return nil
	case a.pairs && (s.Role == model.Q || s.Role == model.K):
		return func(i int) int { // channel 2c+h of a head is c of its half h
			head, c := i/d.D, i%d.D
			return head*d.D + c%2*(d.D/2) + c/2
		}
	case s.Role == model.QKV: // q, k and v of each head, here all q first
		return func(i int) int {
			part, r := i/(d.H*d.D), i%(d.H*d.D)
			return (r/d.D*3+part)*d.D + r%d.D
		}
	}
	return nil
}
