package config

import (
	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Extend are the options of extend: train's, and how to evaluate.
type Extend struct {
	Train
	DoTrain   bool
	EvalLimit int
	Words     string // a file
}

// Flags defines extend's options.
func (e *Extend) Flags(f *pflag.FlagSet) {
	e.Train.Flags(f)
	f.BoolVar(&e.DoTrain, "train", true, "train; false only interpolates the positions")
	f.IntVar(&e.EvalLimit, "eval-limit", 32, "windows of perplexity a length")
	f.StringVar(&e.Words, "passkey-template", "", "YAML file of the passkey task's words")
}

// Finish validates the options.
func (e *Extend) Finish(v *Values) error {
	if e.EvalLimit < 1 {
		return errs.Usagef("--eval-limit %d: must be 1 or more", e.EvalLimit)
	}
	if err := e.Train.Finish(v, "model", "data", "ctx", "out"); err != nil {
		return err
	}
	if !e.DoTrain && e.Adapter != "" {
		return errs.Usagef("--train=false only changes the positions of --model; leave --adapter out, or merge it first and extend what was merged")
	}
	if !e.DoTrain && e.DryRun {
		return errs.Usagef("--dry-run says what the training would do, and with --train=false there is none; leave one out")
	}
	if e.Tune == "full" || e.Init == "random" {
		return errs.Usagef("extend trains an adapter; for --tune full and --init random use train")
	}
	return nil
}
