package config

import (
	"math"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

// Train are the options of train.
type Train struct {
	Common
	Attend
	Window
	Rope
	Documents
	Model, Out, Adapter, Init string
	Data                      []string
	Ctx                       int
	Pack, Overlong            string
	Tune                      string
	Rank                      int
	Alpha, Dropout            float64
	Targets                   []string
	TrainEmbed, TrainNorm     bool
	LR, Beta1, Beta2, Eps     float64
	WeightDecay, MaxGradNorm  float64
	WarmupSteps               int
	Schedule                  string
	Steps                     int
	Epochs                    float64
	Batch, Accum              int
	Seed                      uint64
	Shuffle                   bool
	EvalData                  []string
	EvalFraction              float64
	EvalEvery                 int
	EvalAttn                  []string
	SaveEvery, Keep           int
	Resume                    string
	Replan, DryRun            bool
	Tile                      int
	KeepActivations           string
	MoveLayers                int
	G                         int          // group size in tokens, 0 under full attention
	FullLast                  string       // as it is written, "" where it is not given
	Full                      s2attn.Share // of the last steps; of no meaning under full attention
	HoldDocs                  float64      // share of the documents that is not trained on; extend sets it
	Values                    *Values      // where each option comes from
}

// Flags defines train's options.
func (t *Train) Flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&t.Model, "model", "", "the base: a folder, or a Hugging Face name in the local cache")
	f.StringArrayVar(&t.Data, "data", nil, "text, JSON, CSV, parquet, Arrow or token files, or a folder; repeat for more, PATH:0.3 for a share")
	TokensVar(f, &t.Ctx, "ctx", 0, "tokens of a row: the context to extend to, as 32768 or 32k")
	f.StringVar(&t.Out, "out", "", "folder to write the adapter and checkpoints into")
	f.StringVar(&t.Adapter, "adapter", "", "PEFT adapter to go on from")
	f.StringVar(&t.Init, "init", "checkpoint", "checkpoint, or random: from config.json alone, with --tune full")
	OneOf(f, "init", "checkpoint", "random")
	t.DocumentFlags(f)
	f.StringVar(&t.Pack, "pack", "auto", "rows: auto, concat (one stream; auto for text), cut (documents apart; auto for examples) or pad (one document a row)")
	OneOf(f, "pack", "auto", "concat", "cut", "pad")
	f.StringVar(&t.Overlong, "overlong", "drop", "examples longer than a row: drop, truncate (the prompt's longest text loses its middle) or error")
	OneOf(f, "overlong", "drop", "truncate", "error")
	t.ScoreFlags(f)
	t.AttendFlags(f, "auto", "auto", "s2", "full")
	f.StringVar(&t.FullLast, "full-last", "", "share of the steps, the last ones, that attend fully: 0.125 for the last eighth")
	t.WindowFlags(f)
	t.RopeFlags(f)
	f.StringVar(&t.Tune, "tune", "lora", "lora, or full: every weight")
	OneOf(f, "tune", "lora", "full")
	f.IntVar(&t.Rank, "rank", 8, "LoRA rank")
	f.Float64Var(&t.Alpha, "alpha", 16, "LoRA alpha; the scale is alpha/rank")
	f.Float64Var(&t.Dropout, "dropout", 0, "dropout before LoRA's A")
	f.StringSliceVar(&t.Targets, "targets", []string{"q_proj", "k_proj", "v_proj", "o_proj"}, "layers with LoRA, or all-linear")
	usual(f, "targets", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "all-linear")
	f.BoolVar(&t.TrainEmbed, "train-embed", true, "train the token embedding")
	f.BoolVar(&t.TrainNorm, "train-norm", true, "train the norms")
	f.Float64Var(&t.LR, "lr", 2e-5, "learning rate")
	f.Float64Var(&t.Beta1, "beta1", 0.9, "AdamW's first decay")
	f.Float64Var(&t.Beta2, "beta2", 0.95, "AdamW's second decay")
	f.Float64Var(&t.Eps, "eps", 1e-8, "AdamW's epsilon")
	f.Float64Var(&t.WeightDecay, "weight-decay", 0, "weight decay of all but norms")
	f.Float64Var(&t.MaxGradNorm, "max-grad-norm", 1, "clip the gradient to this norm (0: never)")
	f.IntVar(&t.WarmupSteps, "warmup-steps", 20, "steps of linear warm-up")
	f.StringVar(&t.Schedule, "schedule", "constant", "constant, linear or cosine")
	OneOf(f, "schedule", "constant", "linear", "cosine")
	f.IntVar(&t.Steps, "steps", 0, "optimizer steps")
	f.Float64Var(&t.Epochs, "epochs", 0, "passes over the rows, instead of --steps (default 1)")
	f.IntVar(&t.Batch, "batch", 1, "rows of a micro-batch")
	f.IntVar(&t.Accum, "accum", 8, "micro-batches of a step")
	f.Uint64Var(&t.Seed, "seed", 0, "seed of order, initialisation and dropout")
	f.BoolVar(&t.Shuffle, "shuffle", true, "shuffle the rows of each epoch")
	f.StringArrayVar(&t.EvalData, "eval-data", nil, "validation data")
	f.Float64Var(&t.EvalFraction, "eval-fraction", 0, "share of the rows to hold out for validation")
	f.IntVar(&t.EvalEvery, "eval-every", 0, "steps between validations (0: none)")
	f.StringSliceVar(&t.EvalAttn, "eval-attn", nil, "attention of validation: s2, full or both (default that of training)")
	OneOf(f, "eval-attn", "s2", "full")
	f.IntVar(&t.SaveEvery, "save-every", 100, "steps between checkpoints")
	f.IntVar(&t.Keep, "keep", 2, "checkpoints to keep")
	f.StringVar(&t.Resume, "resume", "auto", "auto, never, or a checkpoint's folder")
	usual(f, "resume", "auto", "never")
	f.BoolVar(&t.Replan, "replan", false, "accept another plan, and other last bits, when resuming")
	f.BoolVar(&t.DryRun, "dry-run", false, "stop before step 1, after showing the first row")
	TokensVar(f, &t.Tile, "tile", 0, "tokens of a tile (0: the planner's choice)")
	f.StringVar(&t.KeepActivations, "keep-activations", "auto", "what layers keep for the backward pass: auto (the planner's choice), all, attn, out or input")
	OneOf(f, "keep-activations", "auto", "all", "attn", "out", "input")
	f.IntVar(&t.MoveLayers, "move-layers", -1, "layers whose kept activations wait in host memory (-1: the planner's choice)")
	t.ComputeFlags(f)
}

// Finish validates the options once they have their values. need names those that must be given.
func (t *Train) Finish(v *Values, need ...string) error {
	t.Values = v
	for _, p := range [][2]string{{"group", "group-size"}, {"steps", "epochs"}, {"eval-data", "eval-fraction"}} {
		if err := v.Exclusive(p[0], p[1]); err != nil {
			return err
		}
	}
	if err := t.attention(v); err != nil {
		return err
	}
	if err := v.Require(need...); err != nil {
		return err
	}
	for _, err := range []error{
		t.CheckDevice(), t.CheckRope(v), t.CheckDocuments(), t.ranges(v), t.combinations(v),
	} {
		if err != nil {
			return err
		}
	}
	var err error
	t.G, err = t.GroupFor(v, t.Ctx)
	if err != nil {
		return err
	}
	return t.roll()
}

// attention settles how steps attend: every step fully, or as S² does until the last ones.
func (t *Train) attention(v *Values) error {
	if t.Attn == "full" && t.FullLast != "" {
		if err := v.Exclusive("attn", "full-last"); err != nil {
			return errs.Usagef("--attn full is full in every step, and --full-last in the last ones; give one")
		}
	}
	if t.Attn == "auto" {
		t.Attn = "s2"
	}
	t.Full = s2attn.Share{}
	if t.FullLast == "" || t.Attn == "full" {
		return nil
	}
	var err error
	if t.Full, err = s2attn.ParseShare(t.FullLast); err != nil {
		return errs.Usagef("--full-last %s: %v", t.FullLast, err)
	}
	return nil
}

// FullSteps is how many of a run's steps attend fully, its last ones.
func (t *Train) FullSteps(steps int) int {
	if t.Attn == "full" {
		return steps
	}
	return t.Full.Last(steps)
}

// ranges checks numbers one by one.
func (t *Train) ranges(v *Values) error {
	for _, c := range []struct {
		flag string
		ok   bool
		want string
	}{
		{"ctx", t.Ctx >= 2 && t.Ctx <= mostTokens, "from 2 to 2^30"},
		{"rank", t.Rank >= 1 && t.Rank <= 1<<16, "from 1 to 65536"},
		{"alpha", t.Alpha > 0 && !math.IsInf(t.Alpha, 0), "a positive number"},
		{"dropout", t.Dropout >= 0 && t.Dropout < 1, "from 0 to below 1"},
		{"lr", t.LR >= 0 && !math.IsInf(t.LR, 0), "a finite number from 0 on"},
		{"beta1", t.Beta1 >= 0 && t.Beta1 < 1, "from 0 to below 1"},
		{"beta2", t.Beta2 >= 0 && t.Beta2 < 1, "from 0 to below 1"},
		{"eps", float32(t.Eps) > 0 && t.Eps <= math.MaxFloat32, "a positive float32, from 1e-45 to 3e38"},
		{"weight-decay", t.WeightDecay >= 0 && !math.IsInf(t.WeightDecay, 0), "a finite number from 0 on"},
		{"max-grad-norm", t.MaxGradNorm >= 0 && !math.IsInf(t.MaxGradNorm, 0), "a finite number from 0 on"},
		{"warmup-steps", t.WarmupSteps >= 0, "0 or more"},
		{"steps", t.Steps >= 1 || !v.Explicit("steps"), "1 or more"},
		{"epochs", t.Epochs > 0 && !math.IsInf(t.Epochs, 0) || !v.Explicit("epochs"), "a positive number"},
		{"batch", t.Batch >= 1 && t.Batch <= mostTimes, "from 1 to 2^20"},
		{"accum", t.Accum >= 1 && t.Accum <= mostTimes, "from 1 to 2^20"},
		{"eval-fraction", t.EvalFraction >= 0 && t.EvalFraction < 1, "from 0 to below 1"},
		{"eval-every", t.EvalEvery >= 0, "0 or more"},
		{"save-every", t.SaveEvery >= 1, "1 or more"},
		{"keep", t.Keep >= 1, "1 or more"},
		{"tile", t.Tile >= 1 || !v.Explicit("tile"), "1 or more"},
		{"move-layers", t.MoveLayers >= -1, "0 or more, or -1"},
	} {
		if !c.ok {
			return errs.Usagef("--%s %s: must be %s", c.flag, v.fs.Lookup(c.flag).Value, c.want)
		}
	}
	return nil
}

// combinations checks options against each other.
func (t *Train) combinations(v *Values) error {
	if t.Init == "random" && t.Tune != "full" {
		return errs.Usagef("--init random trains every weight; add --tune full")
	}
	if t.Adapter != "" && t.Tune == "full" && v.Exclusive("adapter", "tune") != nil {
		return errs.Usagef("--adapter and --tune full exclude each other; merge the adapter first")
	}
	if int64(t.Batch)*int64(t.Ctx) > math.MaxInt32 {
		return errs.Usagef("--batch %d: rows of --ctx %d together have more than 2^31 tokens; raise --accum instead", t.Batch, t.Ctx)
	}
	if t.EvalEvery > 0 && len(t.EvalData) == 0 && t.EvalFraction == 0 {
		return errs.Usagef("--eval-every %d: nothing to validate on; give --eval-data or --eval-fraction", t.EvalEvery)
	}
	if err := checkPaths("eval-data", t.EvalData); err != nil {
		return err
	}
	return checkPaths("data", t.Data)
}

// roll checks what the wrapped variant can do: one tile over one uncut row of whole groups.
func (t *Train) roll() error {
	if t.Attn != "s2" || t.Shift != "roll" {
		return nil
	}
	switch {
	case t.G%2 != 0 || t.Ctx%t.G != 0:
		return errs.Usagef("--shift roll: --ctx %d must be a multiple of an even group size, which is %d", t.Ctx, t.G)
	case t.Pack == "cut" || t.Pack == "pad":
		return errs.Usagef("--shift roll: rows must be uncut; use --pack concat")
	case t.Tile > 0 && t.Tile < t.Ctx:
		return errs.Usagef("--shift roll: runs as one tile; --tile %d is less than --ctx %d", t.Tile, t.Ctx)
	}
	return nil
}
