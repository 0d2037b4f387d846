package config

import (
	"slices"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Eval are the options of eval.
type Eval struct {
	Common
	Attend
	Window
	Rope
	Documents
	Models         []string
	Adapter, Out   string
	Report         string // a file
	Tasks          []string
	Data           []string
	Ctx            []int
	Stride, Limit  int
	Protocol       string
	Trials, Depths int
	Seed           uint64
	Words          string // a file
	Haystack       string // a file
	Values         *Values
}

// Flags defines eval's options.
func (e *Eval) Flags(f *pflag.FlagSet) {
	f.StringArrayVar(&e.Models, "model", nil, "a folder, or a Hugging Face name in the local cache; repeat to compare")
	f.StringVar(&e.Adapter, "adapter", "", "PEFT adapter to apply")
	f.StringSliceVar(&e.Tasks, "task", nil, "ppl, passkey, topics, ruler, or several by comma")
	OneOf(f, "task", "ppl", "passkey", "topics", "ruler")
	f.StringArrayVar(&e.Data, "data", nil, "text, JSON, CSV, parquet, Arrow or token files, or a folder, read as one stream")
	tokensListVar(f, &e.Ctx, "ctx", "lengths, by comma, as 8k,32k")
	f.StringVar(&e.Protocol, "protocol", "longlora", "ppl: longlora (whole windows, the reference's) or sliding (each token once)")
	OneOf(f, "protocol", "longlora", "sliding")
	TokensVar(f, &e.Stride, "stride", 256, "ppl: tokens between windows")
	f.IntVar(&e.Limit, "limit", 0, "ppl: at most so many windows, ruler: trials, evenly spread (0: all)")
	e.DocumentFlags(f)
	e.AttendFlags(f, "full", "s2", "full")
	e.WindowFlags(f)
	e.RopeFlags(f)
	f.IntVar(&e.Trials, "trials", 10, "passkey: prompts a depth; topics: prompts a length; ruler: prompts a subtask")
	f.IntVar(&e.Depths, "depths", 10, "passkey: depths")
	f.StringVar(&e.Words, "passkey-template", "", "passkey: YAML file of its words")
	f.StringVar(&e.Haystack, "haystack", "", "ruler: text file to hide needles in, which adds the tasks that need one")
	f.Uint64Var(&e.Seed, "seed", 0, "passkey, topics, ruler: seed of what is drawn")
	f.StringVar(&e.Out, "out", "", "folder that keeps results as they come; the same command goes on from there")
	f.StringVar(&e.Report, "report", "", "HTML file that shows the results")
	e.ComputeFlags(f)
}

// Finish validates the options.
func (e *Eval) Finish(v *Values) error {
	e.Values = v
	if err := v.Exclusive("group", "group-size"); err != nil {
		return err
	}
	need := []string{"model", "task", "ctx"}
	if slices.Contains(e.Tasks, "ppl") {
		need = append(need, "data")
	}
	if err := v.Require(need...); err != nil {
		return err
	}
	for _, n := range e.Ctx {
		if n < 2 || n > mostTokens {
			return errs.Usagef("--ctx %d: must be from 2 to 2^30", n)
		}
	}
	for flag, n := range map[string]int{"trials": e.Trials, "depths": e.Depths} {
		if n < 1 || n > mostTimes {
			return errs.Usagef("--%s %d: must be from 1 to 2^20", flag, n)
		}
	}
	if e.Stride < 1 {
		return errs.Usagef("--stride %d: must be 1 or more", e.Stride)
	}
	if e.Limit < 0 {
		return errs.Usagef("--limit %d: must not be negative", e.Limit)
	}
	for _, err := range []error{e.CheckDevice(), e.CheckRope(v), e.CheckDocuments()} {
		if err != nil {
			return err
		}
	}
	return e.checkGroups(v)
}

// checkGroups refuses groups that some length cannot have, before anything is computed. Without s2 they do nothing.
func (e *Eval) checkGroups(v *Values) error {
	for _, n := range e.Ctx {
		g, err := e.GroupFor(v, n)
		if err != nil {
			return err
		}
		if e.Attn == "s2" && e.Shift == "roll" && (g%2 != 0 || n%g != 0) {
			return errs.Usagef("--shift roll: --ctx %d must be a multiple of an even group size, which is %d", n, g)
		}
	}
	return nil
}
