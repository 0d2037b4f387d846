package plan

import (
	"strconv"
	"strings"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/machine"
)

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

// Advice is what to do about a step that does not fit.
type Advice struct {
	Longest int    // context that fits as asked, 0 for none
	Command string // the whole command line that fits, "" for none
}

// Advise looks for what fits in the place of a step that does not, with the least change, and completes the refusal by it.
// The options are tried one by one, then together; then contexts are shortened. problem poses what options state.
func Advise(refusal error, c *config.Train, problem func(*config.Train) (Problem, error), lim Limits, m machine.Machine) (Advice, error) {
	at := func(c config.Train, ctx int) (Problem, error) {
		c.Ctx = ctx
		var err error
		if c.G, err = c.GroupFor(c.Values, ctx); err != nil {
			return Problem{}, err
		}
		return problem(&c)
	}
	longest := func(c config.Train) (int, error) {
		return MaxCtx(func(ctx int) (Problem, error) { return at(c, ctx) }, lim)
	}
	var a Advice
	var err error
	if a.Longest, err = longest(*c); err != nil {
		return a, err
	}
	tries := relieved(*c)
	for _, t := range tries {
		p, err := at(t.c, c.Ctx)
		if err != nil {
			return a, err
		}
		fits, err := p.Fits(lim)
		if err != nil {
			return a, err
		}
		if fits {
			a.Command = c.Values.Command(t.changes...)
			return a, errs.NoFitf("%w. What fits, with %s%s: %s", refusal, said(t.changes), asAsked(a.Longest), a.Command)
		}
	}
	raise := "--host-mem"
	if !m.OnHost {
		raise = "--device-mem or --host-mem"
	}
	if a.Longest > 0 {
		a.Command = c.Values.Command(config.Change{Option: "ctx", Value: strconv.Itoa(a.Longest)})
		return a, errs.NoFitf("%w; the longest context that fits is %d: %s. For more raise %s", refusal, a.Longest, a.Command, raise)
	}
	if len(tries) > 0 {
		most := tries[len(tries)-1]
		n, err := longest(most.c)
		if err != nil {
			return a, err
		}
		if n > 0 {
			a.Command = c.Values.Command(append(most.changes, config.Change{Option: "ctx", Value: strconv.Itoa(n)})...)
			return a, errs.NoFitf("%w. What fits, with %s, is at most %d tokens: %s", refusal, said(most.changes), n, a.Command)
		}
	}
	return a, errs.NoFitf("%w; no context fits, however short, and training less does not help: use a smaller model or another machine, or raise %s", refusal, raise)
}

func asAsked(longest int) string {
	if longest == 0 {
		return ""
	}
	return " (as asked, the longest context that fits is " + strconv.Itoa(longest) + ")"
}

// said are changes as they are written on a command line.
func said(changes []config.Change) string {
	var words []string
	for _, c := range changes {
		words = append(words, "--"+c.Option+"="+c.Value)
	}
	return strings.Join(words, " ")
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
