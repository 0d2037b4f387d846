package model

// GPTNeoX is GPT-NeoX (arXiv 2204.06745) and Pythia: LayerNorm, biases everywhere, two linear layers in the MLP,
// attention and MLP side by side, and a part of a head turned.
var GPTNeoX = Arch{
	Class: "GPTNeoXForCausalLM", Type: "gpt_neox",
	Embed: "gpt_neox.embed_in", Layers: "gpt_neox.layers.", Norm: "gpt_neox.final_layer_norm", Head: "embed_out",
	HeadModule: "lm_head", // since transformers 5
	Modules: []Module{
		module("input_layernorm", AttnIn),
		module("attention.query_key_value", QKV),
		module("attention.dense", O),
		module("post_attention_layernorm", MLPIn),
		module("mlp.dense_h_to_4h", Gate),
		module("mlp.dense_4h_to_h", Down),
	},
	Norms: LayerNorms,
	Config: Fields{
		Eps: 1e-5, EpsName: "layer_norm_eps", Partial: true, PartialName: "rotary_pct", PartialDefault: 0.25,
		ThetaName: "rotary_emb_base",
		Always:    func(d *Desc) { d.Bias[Gate], d.Bias[Down], d.Act = true, true, GELU },
		Flags: []Flag{
			{Name: "use_parallel_residual", Default: true, Set: func(d *Desc) { d.Parallel = true }},
			{Name: "attention_bias", Default: true, Set: func(d *Desc) { d.Bias[QKV], d.Bias[O] = true, true }},
		},
		ActName: "hidden_act", ActDefault: "gelu", Acts: geluNames,
	},
}

// geluNames are transformers' names of the two.
var geluNames = map[string]Activation{"gelu": GELU, "gelu_python": GELU, "gelu_new": GELUTanh, "gelu_fast": GELUTanh,
	"gelu_pytorch_tanh": GELUTanh, "gelu_python_tanh": GELUTanh, "gelu_accurate": GELUTanh}
