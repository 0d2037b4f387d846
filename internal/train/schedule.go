package train

import "math"

// Schedule is the learning rate over the steps of a run.
type Schedule struct {
	Kind   string  // constant, linear or cosine
	LR     float64 // the full rate
	Warmup int     // W, steps of linear warm-up; the W-th step runs at the full rate
	Steps  int     // N, all steps of the run
}

// Scaled is the same schedule to another full rate.
func (c Schedule) Scaled(lr float64) Schedule {
	c.LR = lr
	return c
}

// At is the rate of step s, from 1: LR·min(1, s/W), then from step W+1 on, with p = (s−W−1)/(N−W), LR·(1−p) for
// linear and LR·(1+cos πp)/2 for cosine.
func (c Schedule) At(s int) float64 {
	if s <= c.Warmup {
		return c.LR * float64(s) / float64(c.Warmup)
	}
	p := float64(s-c.Warmup-1) / float64(c.Steps-c.Warmup)
	switch c.Kind {
	case "linear":
		return c.LR * (1 - p)
	case "cosine":
		return c.LR * (1 + math.Cos(math.Pi*p)) / 2
	}
	return c.LR
}
