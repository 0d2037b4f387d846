package model

// Mistral is Mistral 7B (arXiv 2310.06825) and its successors of one kind of expert: a LLaMA with a sliding window.
var Mistral = Arch{
	Class: "MistralForCausalLM", Type: "mistral",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: llamaModules,
	Config: Fields{
		KVHeads: 8,
		Flags:   []Flag{{Name: "attention_bias"}, {Name: "mlp_bias"}},
		Windows: AllWindows,
	},
}
