package config

import (
	"math"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Generate are the options of generate.
type Generate struct {
	Common
	Window
	Rope
	Model, Adapter     string
	Prompt, PromptFile string
	Chat               bool
	Template, System   string
	MaxTokens          int
	Temperature, TopP  float64
	Seed               uint64
	Stop               []string
	Overlong           string
	Values             *Values
}

// Flags defines generate's options.
func (g *Generate) Flags(f *pflag.FlagSet) {
	f.StringVar(&g.Model, "model", "", "a folder, or a Hugging Face name in the local cache")
	f.StringVar(&g.Adapter, "adapter", "", "PEFT adapter to apply")
	f.StringVar(&g.Prompt, "prompt", "", "the prompt")
	f.StringVar(&g.PromptFile, "prompt-file", "", "file that holds the prompt; - is standard input")
	f.BoolVar(&g.Chat, "chat", false, "write the prompt as a user's message in the template")
	f.StringVar(&g.Template, "template", "auto", "--chat: auto (by the marks in the model's chat template, else alpaca), llama2, longalpaca, llama3, chatml, alpaca, mistral, phi, granite, gemma, olmo, or a file")
	usual(f, "template", templates...)
	f.StringVar(&g.System, "system", "", "--chat: a system text before the message")
	TokensVar(f, &g.MaxTokens, "max-tokens", 256, "tokens to generate at most")
	f.Float64Var(&g.Temperature, "temperature", 0, "0: always the most probable token; higher: more varied")
	f.Float64Var(&g.TopP, "top-p", 1, "draw from the most probable tokens that together have this probability")
	f.Uint64Var(&g.Seed, "seed", 0, "seed of what is drawn")
	f.StringArrayVar(&g.Stop, "stop", nil, "text at which to stop, which is left out; repeat for several")
	f.StringVar(&g.Overlong, "overlong", "error", "a prompt longer than the model's length: error, or truncate (its middle goes)")
	OneOf(f, "overlong", "error", "truncate")
	g.WindowFlags(f)
	g.RopeFlags(f)
	g.ComputeFlags(f)
}

// Finish validates the options.
func (g *Generate) Finish(v *Values) error {
	g.Values = v
	if err := v.Exclusive("prompt", "prompt-file"); err != nil {
		return err
	}
	if err := v.Require("model", "prompt|prompt-file"); err != nil {
		return err
	}
	switch {
	case g.System != "" && !g.Chat:
		return errs.Usagef("--system: without --chat the prompt is taken as it is; add --chat")
	case g.MaxTokens < 1 || g.MaxTokens > math.MaxInt32:
		return errs.Usagef("--max-tokens %d: must be from 1 to 2^31-1", g.MaxTokens)
	case !(g.Temperature >= 0 && g.Temperature <= maxTemperature):
		return errs.Usagef("--temperature %g: must be from 0 to %d", g.Temperature, maxTemperature)
	case !(g.TopP > 0 && g.TopP <= 1):
		return errs.Usagef("--top-p %g: must be above 0 and at most 1", g.TopP)
	}
	for _, s := range g.Stop {
		if s == "" {
			return errs.Usagef("--stop: an empty text stops everything; leave the flag out")
		}
	}
	for _, err := range []error{g.CheckDevice(), g.CheckRope(v)} {
		if err != nil {
			return err
		}
	}
	return nil
}

// maxTemperature is where every token of a large vocabulary is nearly as probable as any other.
const maxTemperature = 100
