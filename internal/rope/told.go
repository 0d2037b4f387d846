package rope

import "slices"

// Original is the length in tokens that YaRN's and LLaMA 3's scaling count from.
func (p Positions) Original() int { return int(p.original()) }

// Factors are what longrope divides each frequency by, beyond the pre-training length and up to it.
func (p Positions) Factors() (long, short []float32) {
	return slices.Clone(p.list("long_factor")), slices.Clone(p.list("short_factor"))
}

// UsualYaRN reports whether YaRN blends frequencies as its paper does for LLaMA, the only way that programs which take
// no more than a factor have: between 1 and 32 turns, the bounds rounded outward.
func (p Positions) UsualYaRN() bool {
	truncate, said := p.Dict["truncate"].(bool)
	return p.Type == "yarn" && p.field("beta_fast", 32) == 32 && p.field("beta_slow", 1) == 1 && (truncate || !said)
}
