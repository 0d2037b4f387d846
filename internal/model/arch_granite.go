package model

// Granite is Granite 3 (dense): a LLaMA whose embedding, scores, branches and logits are multiplied.
var Granite = Arch{
	Class: "GraniteForCausalLM", Type: "granite",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: llamaModules,
	Config: Fields{
		Flags: []Flag{attentionBias, mlpBias},
		Numbers: []Number{
			{"embedding_multiplier", 1, func(d *Desc, x float64) { d.EmbedBy = float32(x) }},
			{"attention_multiplier", 1, func(d *Desc, x float64) { d.ScoresBy = float32(x) }},
			{"residual_multiplier", 1, func(d *Desc, x float64) { d.BranchBy = float32(x) }},
			{"logits_scaling", 1, func(d *Desc, x float64) { d.LogitsBy = float32(1 / x) }},
		},
	},
}
