package plan

import (
	"strconv"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

// Request is what the options of a training step ask for. work is the work that options state, which may be changed
// ones.
func (t Training) Request(work func(Training) (Work, error)) Request {
	at := func(t Training) func(ctx int) (Work, error) {
		return func(ctx int) (Work, error) {
			t := t
			t.Ctx = ctx
			return work(t)
		}
	}
	r := Request{Ctx: t.Ctx, At: at(t), To: func(ctx int) errs.Advice {
		return errs.Advice{{Option: "ctx", Value: strconv.Itoa(ctx)}}
	}}
	for _, a := range relieved(t) {
		r.Less = append(r.Less, Less{a.changes, at(a.t)})
	}
	return r
}

// A relief is a change of options after which a step needs less memory; it applies where the options leave room for it.
type relief struct {
	applies func(c *Training) bool
	apply   func(c *Training) errs.Advice
}

// reliefs stand in the order of what they cost: the first ones change no result but in rounding, the last ones train
// less.
var reliefs = []relief{
	{ // what the planner would have chosen itself
		func(c *Training) bool {
			return c.Tile > 0 || c.KeepActivations != "auto" || c.MoveLayers >= 0 || c.StreamLayers != nil ||
				c.ShardWeights == "off" && c.Peers > 1
		},
		func(c *Training) (out errs.Advice) {
			if c.Tile > 0 {
				c.Tile, out = 0, append(out, errs.Change{Option: "tile", Value: "0"})
			}
			if c.KeepActivations != "auto" {
				c.KeepActivations, out = "auto", append(out, errs.Change{Option: "keep-activations", Value: "auto"})
			}
			if c.MoveLayers >= 0 {
				c.MoveLayers, out = -1, append(out, errs.Change{Option: "move-layers", Value: "-1"})
			}
			if c.StreamLayers != nil {
				c.StreamLayers, out = nil, append(out, errs.Change{Option: "stream-layers", Value: "auto"})
			}
			if c.ShardWeights == "off" {
				c.ShardWeights, out = "auto", append(out, errs.Change{Option: "shard-weights", Value: "auto"})
			}
			return out
		},
	},
	{ // the same samples a step, one after the other
		func(c *Training) bool { return c.Batch > 1 },
		func(c *Training) errs.Advice {
			c.Batch, c.Accum = 1, c.Accum*c.Batch
			return errs.Advice{{Option: "batch", Value: "1"}, {Option: "accum", Value: strconv.Itoa(c.Accum)}}
		},
	},
	{ // full attention keeps the keys and values of all tokens before
		func(c *Training) bool { return c.Attn != "full" && !c.Full.None() },
		func(c *Training) errs.Advice {
			c.Full = s2attn.Share{}
			return errs.Advice{{Option: "full-last", Value: "0"}}
		},
	},
	{ // after which what follows applies
		func(c *Training) bool { return c.Tune == "full" && !c.Random },
		func(c *Training) errs.Advice {
			c.Tune = "lora"
			return errs.Advice{{Option: "tune", Value: "lora"}}
		},
	},
	{ // its values, gradients and moments in float32 are often the largest part of what is trained
		func(c *Training) bool { return c.TrainEmbed && c.Tune == "lora" && c.Adapter == "" },
		func(c *Training) errs.Advice {
			c.TrainEmbed = false
			return errs.Advice{{Option: "train-embed", Value: "false"}}
		},
	},
	{
		func(c *Training) bool { return c.TrainNorm && c.Tune == "lora" && c.Adapter == "" },
		func(c *Training) errs.Advice {
			c.TrainNorm = false
			return errs.Advice{{Option: "train-norm", Value: "false"}}
		},
	},
	{ // what is frozen in a quarter of the bits
		func(c *Training) bool { return c.Tune == "lora" && c.Weights != "nf4" },
		func(c *Training) errs.Advice {
			c.Weights = "nf4"
			return errs.Advice{{Option: "weights", Value: "nf4"}}
		},
	},
}

// attempt are options changed by one relief or several.
type attempt struct {
	t       Training
	changes errs.Advice
}

// relieved are the attempts worth making: each relief alone, then the first two together, the first three, and so on,
// with those that apply only after others.
func relieved(t Training) []attempt {
	var alone, together []attempt
	all := attempt{t: t}
	for _, r := range reliefs {
		if !r.applies(&all.t) {
			continue
		}
		if r.applies(&t) {
			one := attempt{t: t}
			one.changes = r.apply(&one.t)
			alone = append(alone, one)
		}
		all.changes = append(all.changes[:len(all.changes):len(all.changes)], r.apply(&all.t)...)
		together = append(together, all)
	}
	if len(together) > 1 {
		alone = append(alone, together[1:]...)
	}
	return alone
}
