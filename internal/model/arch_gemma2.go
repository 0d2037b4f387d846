package model

import "math"

// Gemma2 is Gemma 2 (arXiv 2408.00118): norms of 1 + w on both sides of a branch, capped scores and logits, a gate by
// GELU, an embedding times the root of the width, and a window in every second layer.
var Gemma2 = Arch{
	Class: "Gemma2ForCausalLM", Type: "gemma2",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: []Module{
		module("input_layernorm", AttnIn),
		module("self_attn.q_proj", Q),
		module("self_attn.k_proj", K),
		module("self_attn.v_proj", V),
		module("self_attn.o_proj", O),
		module("post_attention_layernorm", AttnOut),
		module("pre_feedforward_layernorm", MLPIn),
		module("mlp.gate_proj", Gate),
		module("mlp.up_proj", Up),
		module("mlp.down_proj", Down),
		module("post_feedforward_layernorm", MLPOut),
	},
	Norms: RMSNormsPlus1,
	Config: Fields{
		KVHeads: 4, HeadDim: 256, Tied: true, Windows: EvenWindows,
		Always: func(d *Desc) { d.EmbedBy, d.EmbedRounded = float32(math.Sqrt(float64(d.C))), true },
		Flags:  []Flag{attentionBias, {Name: "use_bidirectional_attention"}},
		Numbers: []Number{
			{"query_pre_attn_scalar", 256, func(d *Desc, x float64) { d.ScoresBy = float32(1 / math.Sqrt(x)) }},
			{"attn_logit_softcapping", 50, func(d *Desc, x float64) { d.ScoresCap = float32(x) }},
			{"final_logit_softcapping", 30, func(d *Desc, x float64) { d.LogitsCap = float32(x) }},
		},
		ActName: "hidden_activation", ActDefault: "gelu_pytorch_tanh", Acts: geluNames,
	},
}
