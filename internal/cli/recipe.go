package cli

import (
	"math"
	"slices"
	"strings"
	"time"

	"longlora/internal/errs"
	"longlora/internal/extend"
	"longlora/internal/train"
)

// recipe is a set of defaults of training: values of options, and rules for what depends on the model.
type recipe struct {
	values map[string]string // by option
	rates  train.Rates       // what --lr auto and --lr-embed auto are
	rope   string            // the type that --rope auto takes beyond the base's length where the base has none
	margin float64           // how many times the context that type is to reach
}

// recipes are what --recipe names. docs/quality.md has the measurements behind the first one; the second is the
// paper's.
var recipes = map[string]recipe{
	"measured": {
		values: map[string]string{"rank": "16", "alpha": "32", "targets": "all-linear",
			"schedule": "linear", "warmup-steps": "6", "full-last": "0.125"},
		rates: train.Rates{LR: 2e-3, Width: 576, Power: 0.775, Short: 3e-3, Tokens: 131072, Steps: 60,
			Full: 2e-5, Embed: 10},
		rope: "ntk", margin: 1.1,
	},
	"paper": {
		values: map[string]string{"rank": "8", "alpha": "16", "targets": "attention",
			"schedule": "constant", "warmup-steps": "20", "full-last": "0"},
		rates: train.Rates{LR: 2e-5, Full: 2e-5, Embed: 1},
		rope:  "linear", margin: 1,
	},
}

// byRule are the options whose value auto is a recipe's rule.
var byRule = []string{"lr", "lr-embed", "rope"}

// byRule reports whether an option's value is auto, which is a recipe's rule.
func (v *Values) byRule(name string) bool {
	return slices.Contains(byRule, name) && v.fs.Lookup(name).Value.String() == "auto"
}

// ofRecipe begins the name of a recipe that gave a value.
const ofRecipe = "recipe "

// byRecipe reports whether recipes set an option.
func byRecipe(name string) bool {
	_, ok := recipes["paper"].values[name]
	return ok || slices.Contains(byRule, name)
}

// recipe is the one that is asked for.
func (v *Values) recipe() recipe { return recipes[v.text("recipe")] }

// cook gives the options that nothing else gives what the run recorded that is gone on from, or what the recipe says.
func (v *Values) cook() error {
	if v.option("recipe") == nil {
		return nil
	}
	var saved, gave map[string]string
	switch v.fs.Name() {
	case "train":
		saved, gave = train.Recorded(v.text("out"), v.text("resume"))
	case "extend":
		saved = extend.Recorded(v.text("out"))
	}
	left := func(name string) bool {
		asked := v.Given("attn") && v.text("attn") != "auto" // which says of every step how it attends
		// A rule that is asked for by its name is the same rule, also of more steps than the run began with.
		again := v.byRule(name) && strings.HasPrefix(gave[name], ofRecipe)
		return v.option(name) != nil && (v.source[name] == Default || again) && !(name == "full-last" && asked)
	}
	if v.option("system-default") != nil && v.truth("system-default") && left("system-date") {
		day, from := time.Now().Format(time.DateOnly), Today
		if text := saved["system-date"]; text != "" { // a run that goes on on another day has the same examples
			day, from = text, Record
		}
		if err := v.assign("system-date", day, from); err != nil {
			return err
		}
	}
	for _, name := range NamesOf(v.fs.Name()) {
		if text, ok := saved[name]; ok && name != "rope" && byRecipe(name) && left(name) {
			if err := v.assign(name, text, Record); err != nil {
				return err
			}
		}
	}
	if saved != nil && saved["full-last"] == "" && left("full-last") { // a record has no shares of none
		v.source["full-last"] = Record
	}
	for name, text := range v.recipe().values {
		if left(name) {
			if err := v.assign(name, text, Recipe); err != nil {
				return err
			}
		}
	}
	goesOn := v.option("adapter") != nil && v.text("adapter") != "" // bench has no adapter
	if v.Given("rank") && v.whole("rank") > 0 && !v.Given("alpha") && v.text("tune") == "lora" && !goesOn {
		by := float64(v.whole("rank"))
		if v.truth("rslora") {
			by = math.Sqrt(by)
		}
		v.note("--alpha is %v, the recipe's: with --rank %d the scale is %.4g", v.real("alpha"), v.whole("rank"),
			v.real("alpha")/by)
	}
	return nil
}

// assign gives an option a value from a source that knows it as text.
func (v *Values) assign(name, text string, from Source) error {
	f := v.fs.Lookup(name)
	if err := assign(f, given{text: text, plain: text}); err != nil {
		return errs.Usagef("--%s: %q of %s: %s", name, text, v.origin(from), Unfit(f, err))
	}
	v.source[name] = from
	return nil
}

// origin says where values of a source come from.
func (v *Values) origin(s Source) string {
	switch s {
	case Recipe:
		return ofRecipe + v.text("recipe")
	case Today:
		return "today's date"
	case Record:
		return train.FromRecord
	case File:
		return "file " + v.file
	case Env:
		return "environment"
	case Flag:
		return "flag"
	}
	return "default"
}
