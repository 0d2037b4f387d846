package config

import (
	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// trainFlags defines train's options but those that the list names.
func trainFlags(t *Train, f *pflag.FlagSet, but ...string) {
	f.SortFlags = false
	own := pflag.NewFlagSet("train", pflag.ContinueOnError)
	own.SortFlags = false
	t.Flags(own)
	skip := map[string]bool{}
	for _, n := range but {
		skip[n] = true
	}
	own.VisitAll(func(x *pflag.Flag) {
		if !skip[x.Name] {
			f.AddFlag(x)
		}
	})
}

// Shapes are the names that --shape takes.
var Shapes = []string{"tiny", "llama2-7b", "llama2-13b", "llama2-70b", "llama3-8b"}

// Chips are the names that --chip takes.
var Chips = []string{"auto", "cpu", "a100", "h100", "h200", "rtx4090"}

// checkChip checks --chip, and that --device does not say otherwise.
func (p *Plan) checkChip() error {
	kind := "cuda"
	switch p.Chip {
	case "auto":
		return nil
	case "cpu":
		kind = "cpu"
	}
	asked, _, err := p.Where()
	if err == nil && asked != "auto" && asked != kind {
		return errs.Usagef("--chip %s and --device %s say different things; leave one out", p.Chip, p.Device)
	}
	if err == nil {
		err = p.CheckDType(kind)
	}
	if err == nil && kind == "cuda" {
		err = p.CheckShift(kind)
	}
	return err
}

// Plan are the options of plan: train's, a shape instead of a model, and a chip.
type Plan struct {
	Train
	Shape, Chip string
	MaxCtx      bool
}

// Flags defines them.
func (p *Plan) Flags(f *pflag.FlagSet) {
	f.StringVar(&p.Shape, "shape", "", "instead of --model: tiny, llama2-7b, llama2-13b, llama2-70b or llama3-8b")
	thingOf(f, "shape", Shapes...)
	f.StringVar(&p.Chip, "chip", "auto", "auto (this machine), cpu, a100, h100, h200 or rtx4090")
	thingOf(f, "chip", Chips...)
	f.BoolVar(&p.MaxCtx, "max-ctx", false, "find the longest context that fits")
	trainFlags(&p.Train, f)
}

// Finish validates them.
func (p *Plan) Finish(v *Values) error {
	if err := v.Exclusive("model", "shape"); err != nil {
		return err
	}
	need := []string{"model|shape"}
	if p.MaxCtx && !v.Explicit("ctx") {
		p.Ctx = 4096 // only to have the options checked; the search goes over all contexts
	} else {
		need = append(need, "ctx")
	}
	if err := p.Train.Finish(v, need...); err != nil {
		return err
	}
	return p.checkChip()
}

// Bench are the options of bench.
type Bench struct {
	Train
	Shape         string
	Ctxs          []int
	Steps, Warmup int
}

// Flags defines them: train's, but for what bench makes itself.
func (b *Bench) Flags(f *pflag.FlagSet) {
	f.StringVar(&b.Shape, "shape", "tiny", "tiny, llama2-7b, llama2-13b, llama2-70b or llama3-8b")
	thingOf(f, "shape", Shapes...)
	tokensListVar(f, &b.Ctxs, "ctx", "tokens of a row; several by comma")
	f.IntVar(&b.Steps, "steps", 3, "steps to measure")
	f.IntVar(&b.Warmup, "warmup", 2, "steps before them that are not measured")
	trainFlags(&b.Train, f, "ctx", "steps", "model", "data", "out", "adapter", "init", windowFlag, "batch", "accum", "epochs", "eval-data", "eval-fraction", "eval-every", "eval-attn",
		"save-every", "keep", "resume", "replan", "dry-run", "format", "template", "text-field", "skip-bad", "overlong", "train-on-prompt", "pack", "shuffle")
}

// Finish validates them, and train's for every context.
func (b *Bench) Finish(v *Values) error {
	if err := v.Require("ctx"); err != nil {
		return err
	}
	if b.Steps < 1 || b.Warmup < 0 {
		return errs.Usagef("--steps %d --warmup %d: at least one step is measured, and warm-up is not negative", b.Steps, b.Warmup)
	}
	b.Batch, b.Accum, b.Train.Steps = 1, 1, b.Steps
	for _, n := range b.Ctxs {
		if _, err := b.At(v, n); err != nil {
			return err
		}
	}
	return nil
}

// At are train's options at one context.
func (b *Bench) At(v *Values, ctx int) (Train, error) {
	if ctx < 2 {
		return Train{}, errs.Usagef("--ctx %d: must be 2 or more", ctx)
	}
	t := b.Train
	t.Ctx = ctx
	err := t.Finish(v)
	t.Steps = 0 // those that are measured are no run's
	return t, err
}
