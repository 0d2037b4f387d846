package plan

import (
	"strconv"

	"longlora/internal/config"
	"longlora/internal/s2attn"
)

// Training is the request that train's options make. work is the work that options state, which may be changed ones.
func Training(c *config.Train, work func(*config.Train) (Work, error)) Request {
	at := func(c config.Train) func(ctx int) (Work, error) {
		return func(ctx int) (w Work, err error) {
			c := c
			c.Ctx = ctx
			if c.G, err = c.GroupFor(c.Values, ctx); err != nil {
				return w, err
			}
			return work(&c)
		}
	}
	r := Request{Ctx: c.Ctx, At: at(*c), Values: c.Values, To: func(ctx int) []config.Change {
		return []config.Change{{Option: "ctx", Value: strconv.Itoa(ctx)}}
	}}
	for _, t := range relieved(*c) {
		r.Less = append(r.Less, Less{t.changes, at(t.c)})
	}
	return r
}

// A relief is a change of options after which a step needs less memory; it applies where the options leave room for it.
type relief struct {
	applies func(c *config.Train) bool
	apply   func(c *config.Train) []config.Change
}

// reliefs stand in the order of what they cost: the first ones change no result but in rounding, the last ones train less.
var reliefs = []relief{
	{ // what the planner would have chosen itself
		func(c *config.Train) bool { return c.Tile > 0 || c.KeepActivations != "auto" || c.MoveLayers >= 0 },
		func(c *config.Train) (out []config.Change) {
			if c.Tile > 0 {
				c.Tile, out = 0, append(out, config.Change{Option: "tile", Value: "0"})
			}
			if c.KeepActivations != "auto" {
				c.KeepActivations, out = "auto", append(out, config.Change{Option: "keep-activations", Value: "auto"})
			}
			if c.MoveLayers >= 0 {
				c.MoveLayers, out = -1, append(out, config.Change{Option: "move-layers", Value: "-1"})
			}
			return out
		},
	},
	{ // the same samples a step, one after the other
		func(c *config.Train) bool { return c.Batch > 1 },
		func(c *config.Train) []config.Change {
			c.Batch, c.Accum = 1, c.Accum*c.Batch
			return []config.Change{{Option: "batch", Value: "1"}, {Option: "accum", Value: strconv.Itoa(c.Accum)}}
		},
	},
	{ // full attention keeps the keys and values of all tokens before
		func(c *config.Train) bool { return c.Attn != "full" && !c.Full.None() },
		func(c *config.Train) []config.Change {
			c.Full = s2attn.Share{}
			return []config.Change{{Option: "full-last", Value: "0"}}
		},
	},
	{ // its values, gradients and moments in float32 are often the largest part of what is trained
		func(c *config.Train) bool { return c.TrainEmbed && c.Tune == "lora" && c.Adapter == "" },
		func(c *config.Train) []config.Change {
			c.TrainEmbed = false
			return []config.Change{{Option: "train-embed", Value: "false"}}
		},
	},
	{
		func(c *config.Train) bool { return c.TrainNorm && c.Tune == "lora" && c.Adapter == "" },
		func(c *config.Train) []config.Change {
			c.TrainNorm = false
			return []config.Change{{Option: "train-norm", Value: "false"}}
		},
	},
	{
		func(c *config.Train) bool { return c.Tune == "full" && c.Init != "random" },
		func(c *config.Train) []config.Change {
			c.Tune = "lora"
			return []config.Change{{Option: "tune", Value: "lora"}}
		},
	},
}

// attempt are options changed by one relief or several.
type attempt struct {
	c       config.Train
	changes []config.Change
}

// relieved are the attempts worth making: each relief alone, then the first two together, the first three, and so on.
func relieved(c config.Train) []attempt {
	var alone, together []attempt
	all := attempt{c: c}
	for _, r := range reliefs {
		if !r.applies(&c) {
			continue
		}
		one := attempt{c: c}
		one.changes = r.apply(&one.c)
		alone = append(alone, one)
		all.changes = append(all.changes[:len(all.changes):len(all.changes)], r.apply(&all.c)...)
		together = append(together, all)
	}
	if len(together) > 1 {
		alone = append(alone, together[1:]...)
	}
	return alone
}
