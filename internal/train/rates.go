package train

import "math"

// Rates are the learning rates that hold where none is given.
type Rates struct {
	LR    float64 // of the factors, in a model of width Width
	Width int     // 0: in a model of any width
	Power float64 // of Width by the model's own width, by which LR falls in wider ones
	Full  float64 // of every weight, where every weight is trained
	Embed float64 // the rate of embedding, norms and head by the factors'
}

// Of is the factors' rate in a model of a width, or every weight's.
func (r Rates) Of(width int, full bool) float64 {
	switch {
	case full:
		return r.Full
	case r.Width == 0:
		return r.LR
	}
	return r.LR * min(1, math.Pow(float64(r.Width)/float64(width), r.Power)) // a higher one than was measured is not ventured
}

// RatesFor are the rates in a model of a width: that of factors, or of every weight, and that of embedding, norms and
// head.
func (c *Options) RatesFor(width int) (lr, embed float64) {
	if lr = c.Rates.Of(width, c.Tune == "full"); c.LR != nil {
		lr = *c.LR
	}
	if embed = lr * c.Rates.Embed; c.LREmbed != nil {
		embed = *c.LREmbed
	}
	return lr, embed
}
