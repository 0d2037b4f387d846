package model

// qwen3Modules are LLaMA's with norms of each head's queries and keys.
var qwen3Modules = []Module{
	module("input_layernorm", AttnIn),
	module("self_attn.q_proj", Q),
	module("self_attn.k_proj", K),
	module("self_attn.v_proj", V),
	module("self_attn.q_norm", QNorm),
	module("self_attn.k_norm", KNorm),
	module("self_attn.o_proj", O),
	module("post_attention_layernorm", MLPIn),
	module("mlp.gate_proj", Gate),
	module("mlp.up_proj", Up),
	module("mlp.down_proj", Down),
}

// Qwen2 is Qwen 2 and 2.5 (arXiv 2407.10671, 2412.15115): q, k and v have a bias, and later layers may have a window.
var Qwen2 = Arch{
	Class: "Qwen2ForCausalLM", Type: "qwen2",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: llamaModules,
	Config: Fields{KVHeads: 32, Windows: LateWindows, Always: func(d *Desc) {
		d.Bias[Q], d.Bias[K], d.Bias[V] = true,
			true, true
	}},
}

// Qwen3 is Qwen 3 (arXiv 2505.09388): queries and keys are normed by head.
var Qwen3 = Arch{
	Class: "Qwen3ForCausalLM", Type: "qwen3",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: qwen3Modules,
	Config:  Fields{KVHeads: 32, HeadDim: 128, Windows: LateWindows, Flags: []Flag{attentionBias}},
}
