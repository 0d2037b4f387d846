package model

// Olmo2 is OLMo 2 (arXiv 2501.00656): a branch is normed at its end, not before it, and so are all queries and all
// keys.
var Olmo2 = Arch{
	Class: "Olmo2ForCausalLM", Type: "olmo2",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: []Module{
		module("self_attn.q_proj", Q),
		module("self_attn.k_proj", K),
		module("self_attn.v_proj", V),
		module("self_attn.q_norm", QNorm),
		module("self_attn.k_norm", KNorm),
		module("self_attn.o_proj", O),
		module("post_attention_layernorm", AttnOut),
		module("mlp.gate_proj", Gate),
		module("mlp.up_proj", Up),
		module("mlp.down_proj", Down),
		module("post_feedforward_layernorm", MLPOut),
	},
	WholeQK: true,
	Config:  Fields{Eps: 1e-5, Flags: []Flag{attentionBias}},
}
