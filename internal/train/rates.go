package train

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"longlora/internal/errs"
)

// Rates are the learning rates that hold where none is given.
type Rates struct {
	LR     float64 // of the factors, in a model of width Width; the most there is
	Width  int     // 0: in a model of any width
	Power  float64 // of Width by the model's own width, by which LR falls in wider ones
	Short  float64 // what bounds LR in a run of Steps steps of Tokens tokens, and less in a shorter one; 0: nothing does
	Tokens int     // of a step: Short falls in proportion where a step has fewer
	Steps  int     // of a run: Short falls with their root where a run has fewer
	Full   float64 // of every weight, where every weight is trained
	Embed  float64 // the factors' rate by that of embedding, norms and head; where every weight is trained all have one
}

// Of is the factors' rate in a model of a width, in a run of so many steps of so many tokens; 0 steps are as many as it
// takes, in three digits. Nowhere is it higher than was measured.
func (r Rates) Of(width, tokens, steps int) float64 {
	share := func(n, of int) float64 { return min(1, float64(n)/float64(of)) }
	lr := r.LR
	if r.Short > 0 {
		short := r.Short * share(tokens, r.Tokens)
		if steps > 0 {
			short *= math.Sqrt(share(steps, r.Steps))
		}
		lr = min(lr, short)
	}
	if r.Width > 0 {
		lr *= math.Pow(share(r.Width, width), r.Power)
	}
	return digits(lr, 3)
}

// digits is v to n significant digits, as it would be written with them.
func digits(v float64, n int) float64 {
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'e', n-1, 64), 64)
	return v
}

// RatesFor are the rates in a model of a width and a run of so many steps, 0 where they are not counted: that of
// factors, or of every weight, and that of embedding, norms and head.
func (c *Options) RatesFor(width, steps int) (lr, embed float64) {
	switch lr = c.Rates.Of(width, c.Ctx*c.Batch*c.Accum, steps); {
	case c.LR != nil:
		lr = *c.LR
	case c.Tune == "full":
		lr = c.Rates.Full
	}
	switch embed = lr; {
	case c.LREmbed != nil:
		embed = *c.LREmbed
	case c.Tune != "full" && c.Rates.Embed != 1:
		embed = digits(lr/c.Rates.Embed, 12) // 1.07e-07 of 1.07e-06, which divided is 1.0699999999999999e-07
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
	lr, outer := c.RatesFor(width, 0)
	var out []string
	add := func(wild bool, option string, value float64) {
		if wild {
			out = append(out, fmt.Sprintf("%s, which is %g", errs.Option(option), value))
		}
	}
	add(lr > wildRate, "lr", lr)
	add(outer > wildRate && c.LREmbed != nil, "lr-embed", outer)
	add(max(lr, outer)*c.WeightDecay > 1, "weight-decay", c.WeightDecay)
	if c.Tune == "lora" && c.Adapter == "" {
		add(c.Alpha/float64(c.Rank) > wildScale, "alpha", c.Alpha)
	}
	add(c.Dropout > wildDropout, "dropout", c.Dropout)
	return strings.Join(out, ", or ")
}
