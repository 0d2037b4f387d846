package model

// Phi3 is Phi-3, 3.5, 4 and 4-mini (arXiv 2404.14219): q, k and v lie in one matrix, gate and up in another, and a part
// of a head is turned.
var Phi3 = Arch{
	Class: "Phi3ForCausalLM", Type: "phi3",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: []Module{
		module("input_layernorm", AttnIn),
		module("self_attn.qkv_proj", Q, K, V),
		module("self_attn.o_proj", O),
		module("post_attention_layernorm", MLPIn),
		module("mlp.gate_up_proj", Gate, Up),
		module("mlp.down_proj", Down),
	},
	Config: Fields{Eps: 1e-5, Windows: NamedWindows, Partial: true, Long: "longrope"},
}
