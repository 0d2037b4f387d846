package train

import (
	"fmt"
	"math"
	"strings"

	"longlora/internal/errs"
)

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

// Numbers of a training that anybody wants are far below these. From here on one alone may be why others overflow.
const (
	wildRate    = 0.1
	wildScale   = 1e3 // of what factors add
	wildDropout = 0.999
)

// Suspects names the options that alone may be why numbers of a run in a model of a width are not finite; "" for none.
func (c *Options) Suspects(width int) string {
	lr, outer := c.RatesFor(width)
	var out []string
	add := func(wild bool, option string, value float64) {
		if wild {
			out = append(out, fmt.Sprintf("%s, which is %g", errs.Option(option), value))
		}
	}
	add(lr > wildRate, "lr", lr)
	add(outer > wildRate && outer != lr, "lr-embed", outer)
	add(max(lr, outer)*c.WeightDecay > 1, "weight-decay", c.WeightDecay)
	if c.Tune == "lora" && c.Adapter == "" {
		add(c.Alpha/float64(c.Rank) > wildScale, "alpha", c.Alpha)
	}
	add(c.Dropout > wildDropout, "dropout", c.Dropout)
	return strings.Join(out, ", or ")
}
