package model

// SmolLM3 is SmolLM 3: a LLaMA of which some layers have no positions.
var SmolLM3 = Arch{
	Class: "SmolLM3ForCausalLM", Type: "smollm3",
	Embed: "model.embed_tokens", Layers: "model.layers.", Norm: "model.norm", Head: "lm_head",
	Modules: llamaModules,
	Config: Fields{KVHeads: 4, Theta: 2000000, Tied: true, NoRope: true, Windows: LateWindows,
		Flags: []Flag{attentionBias, mlpBias}},
}
