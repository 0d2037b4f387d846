package model

// llamaModules are the modules of a LLaMA's layer, as most families name them.
var llamaModules = []Module{
	module("input_layernorm", AttnIn),
	module("self_attn.q_proj", Q),
	module("self_attn.k_proj", K),
	module("self_attn.v_proj", V),
	module("self_attn.o_proj", O),
	module("post_attention_layernorm", MLPIn),
	module("mlp.gate_proj", Gate),
	module("mlp.up_proj", Up),
	module("mlp.down_proj", Down),
}

// attentionBias and mlpBias say which linear layers have a bias.
var (
	attentionBias = Flag{Name: "attention_bias", Set: func(d *Desc) {
		d.Bias[Q], d.Bias[K], d.Bias[V], d.Bias[O] = true, true, true, true
	}}
	mlpBias = Flag{Name: "mlp_bias", Set: func(d *Desc) { d.Bias[Gate], d.Bias[Up], d.Bias[Down] = true, true, true }}
)

// Llama is LLaMA (arXiv 2302.13971), and whatever is written as one.
var Llama = Arch{
	Class: "LlamaForCausalLM", Type: "llama",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: llamaModules,
	Config:  Fields{Flags: []Flag{attentionBias, mlpBias}},
}
