package cli

import (
	"math"
	"slices"
	"strings"

	"longlora/internal/bench"
	"longlora/internal/data"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/extend"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/plan"
	"longlora/internal/quant"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/train"
)

// attention is how attention is computed.
func (v *Values) attention() s2attn.Options {
	o := s2attn.Options{Attn: strings.Replace(v.text("attn"), "auto", "s2", 1), Shift: v.text("shift"),
		Group: v.text("group")}
	if n := v.tokens("group-size"); v.Given("group-size") {
		o.GroupSize = &n
	}
	return o
}

// positions are what is asked of positions, but for the context.
func (v *Values) positions() (rope.Request, error) {
	if v.text("rope") == "none" && v.Exclusive("rope", "rope-factor") != nil {
		return rope.Request{}, errs.Usagef("%s none and %s exclude each other: none is without scaling", v.by("rope"),
			v.by("rope-factor"))
	}
	r := rope.Request{Rope: v.text("rope"), Factor: v.real("rope-factor"), BaseCtx: v.tokens("base-ctx")}
	if v.option("recipe") != nil {
		r.Beyond, r.Margin = v.recipe().rope, v.recipe().margin
	}
	return r, nil
}

// documents is how documents are read.
func (v *Values) documents() data.Options {
	o := data.Options{Format: v.text("format"), Template: v.text("template"), TextField: v.text("text-field"),
		TextNamed: v.Given("text-field"), SkipBad: v.truth("skip-bad"), AddBOS: v.text("add-bos"),
		Out: v.text("out")}
	if v.option("train-on-prompt") == nil {
		return o
	}
	o.System = v.ownSystem()
	if all := v.truth("train-on-prompt"); v.Given("train-on-prompt") {
		o.TrainOnPrompt = &all
	}
	return o
}

// ownSystem is whether a model's own system text is written.
func (v *Values) ownSystem() template.OwnSystem {
	return template.OwnSystem{Written: v.truth("system-default"), Date: v.text("system-date")}
}

// lastFully is the share of the steps that attend fully, the last ones.
func (v *Values) lastFully() (f s2attn.Share, err error) {
	if v.text("attn") == "full" && v.text("full-last") != "" {
		if err := v.Exclusive("attn", "full-last"); err != nil {
			return f, errs.Usagef("%s full is full in every step, and %s in the last ones; give one", v.by("attn"),
				v.by("full-last"))
		}
	}
	if text := v.text("full-last"); text != "" && v.text("attn") != "full" {
		if f, err = s2attn.ParseShare(text); err != nil {
			return f, errs.Usagef("--full-last %s: %v", text, err)
		}
	}
	return f, nil
}

// step are the options that a training step's memory and time depend on, at a context.
func (v *Values) step(ctx int) (plan.Training, error) {
	full, err := v.lastFully()
	if k, ok := quant.Named(v.text("weights")); ok && k.Fewer && v.text("tune") == "full" && err == nil {
		if v.Exclusive("weights", "tune") != nil {
			err = errs.Usagef("%s %s and %s full exclude each other: beside weights of fewer bits only an adapter is trained",
				v.by("weights"), k.Name, v.by("tune"))
		}
	}
	batch := v.whole("batch")
	if err == nil && int64(batch)*int64(ctx) > math.MaxInt32 {
		err = errs.Usagef("--batch %d: rows of --ctx %d together have more than 2^31 tokens; make it smaller", batch, ctx)
	}
	if n := v.count("stream-layers"); err == nil && n != nil && *n > 0 && v.text("shard-weights") == "on" {
		err = v.Exclusive("stream-layers", "shard-weights")
	}
	o := plan.Training{
		Options: v.attention(), Full: full, Ctx: ctx, Batch: batch, Accum: 1, Chain: v.Chain(),
		Trained: load.Trained{
			Tune: v.text("tune"), Rank: v.whole("rank"), Alpha: v.real("alpha"), Dropout: v.real("dropout"),
			Targets: v.texts("targets"),
			RSLoRA:  v.truth("rslora"), TrainEmbed: v.truth("train-embed"), TrainNorm: v.truth("train-norm"),
			TrainHead: v.truth("train-head"),
			Given:     v.given("rank", "alpha", "rslora", "targets", "train-embed", "train-norm", "train-head"),
		},
		Tile: v.tokens("tile"), KeepActivations: v.text("keep-activations"), MoveLayers: v.whole("move-layers"),
		StreamLayers: v.count("stream-layers"), ShardWeights: v.text("shard-weights"),
		Weights: v.text("weights"), Products: v.text("products"),
	}
	if err == nil {
		err = v.dividing(o)
	}
	return o, err
}

// run are the options of a training step of rows of data.
func (v *Values) run(ctx int) (plan.Training, error) {
	o, err := v.step(ctx)
	if err != nil {
		return o, err
	}
	o.Steps = v.whole("steps")
	o.Adapter, o.Random, o.Pack = v.text("adapter"), v.text("init") == "random", v.text("pack")
	o.Accum = v.whole("accum")
	o.EvalEvery, o.EvalAttn = v.whole("eval-every"), v.texts("eval-attn")
	switch {
	case o.Random && o.Tune != "full":
		return o, errs.Usagef("--init random trains every weight; add --tune full")
	case o.Adapter != "" && o.Tune == "full":
		if v.Exclusive("adapter", "tune") != nil {
			return o, errs.Usagef("%s and %s full exclude each other; merge the adapter first", v.by("adapter"), v.by("tune"))
		}
		o.Adapter, o.Tune = v.text("adapter"), v.text("tune")
	case o.EvalEvery > 0 && len(v.texts("eval-data")) == 0 && v.real("eval-fraction") == 0:
		return o, errs.Usagef("--eval-every %d: nothing to validate on; give --eval-data or --eval-fraction", o.EvalEvery)
	}
	if o.Rolls() && (o.Pack == "cut" || o.Pack == "pad") {
		return o, errs.Usagef("--shift roll: rows must be uncut; use --pack concat")
	}
	return o, checkRoll(o)
}

// checkRoll refuses what the wrapped variant cannot compute, where that is asked for: it wants one tile of whole
// groups.
func checkRoll(t plan.Training) error {
	if err := t.CheckRoll(t.Ctx); err != nil {
		return err
	}
	if t.Rolls() && t.Tile > 0 && t.Tile < t.Ctx {
		return errs.Usagef("--shift roll: runs as one tile; --tile %d is less than --ctx %d", t.Tile, t.Ctx)
	}
	return nil
}

// Ready checks that the options that are needed are given, a|b being either of two, and the values of those that are.
func (v *Values) Ready(need ...string) error {
	if err := v.Require(need...); err != nil {
		return err
	}
	if err := v.check(); err != nil {
		return err
	}
	p := v.Place()
	return p.checkType(p.Kind)
}

// Train are the options of train.
func (v *Values) Train() (o train.Options, err error) {
	if err = v.Ready("model", "data", "ctx", "out"); err != nil {
		return o, err
	}
	if o.Positions, err = v.positions(); err != nil {
		return o, err
	}
	if o.Training, err = v.run(v.tokens("ctx")); err != nil {
		return o, err
	}
	o.Memory, o.Window, o.Documents = v.memory(), v.window(), v.documents()
	o.Model, o.Out, o.Data, o.Overlong = v.text("model"), v.text("out"), v.texts("data"), v.text("overlong")
	o.Documents.Overlong, o.Documents.OverlongNamed = o.Overlong, v.Given("overlong") && !v.InFile("overlong")
	o.EvalData, o.EvalFraction = v.texts("eval-data"), v.real("eval-fraction")
	o.Schedule, o.WarmupSteps = v.text("schedule"), v.whole("warmup-steps")
	o.Epochs, o.Shuffle = v.real("epochs"), v.truth("shuffle")
	o.SaveEvery, o.Keep = v.whole("save-every"), v.whole("keep")
	o.KeepBest, o.EarlyStop = v.truth("keep-best"), v.whole("early-stop")
	for _, name := range []string{"keep-best", "early-stop"} {
		if (name == "keep-best" && o.KeepBest || name == "early-stop" && o.EarlyStop > 0) && o.EvalEvery == 0 {
			return o, errs.Usagef("--%s goes by the validation loss; give --eval-every, and --eval-data or "+
				"--eval-fraction", name)
		}
	}
	o.Resume, o.Replan, o.DryRun = v.text("resume"), v.truth("replan"), v.truth("dry-run")
	v.optimizer(&o)
	v.idle()
	o.Settings = v.settings("train") // now that of options that exclude each other one is left
	return o, nil
}

// optimizer fills in how a step changes what is trained, and the seed.
func (v *Values) optimizer(o *train.Options) {
	o.LR, o.LREmbed, o.Rates = v.rate("lr"), v.rate("lr-embed"), v.recipe().rates
	o.Beta1, o.Beta2, o.Eps = v.real("beta1"), v.real("beta2"), v.real("eps")
	o.WeightDecay, o.MaxGradNorm, o.Seed = v.real("weight-decay"), v.real("max-grad-norm"), v.seed("seed")
}

// Extend are the options of extend.
func (v *Values) Extend() (o extend.Options, err error) {
	if o.Options, err = v.Train(); err != nil {
		return o, err
	}
	o.DoTrain, o.EvalLimit, o.Words = v.truth("train"), v.whole("eval-limit"), v.text("passkey-template")
	o.Trials, o.Depths = v.whole("trials"), v.whole("depths")
	o.Threads, o.Given = v.whole("threads"), v.settings("extend")
	switch {
	case !o.DoTrain && o.Adapter != "":
		err = errs.Usagef("--train=false only changes the positions of --model; leave --adapter out, or merge it first and " +
			"extend what was merged")
	case o.Tune == "full" || o.Random:
		err = errs.Usagef("extend trains an adapter; for --tune full and --init random use train")
	}
	return o, err
}

// Plan are the options of plan: what is planned for at each length, and the chips, "auto" for this machine.
type Plan struct {
	At    []plan.Options
	Chips []string
}

// Plan are the options of plan.
func (v *Values) Plan() (o Plan, err error) {
	need, lengths := []string{"model|shape", "ctx"}, v.lengths("ctx")
	longest := v.truth("max-ctx")
	if longest && !v.Given("ctx") {
		need, lengths = need[:1], []int{4096} // only to have the options checked; the search goes over all contexts
	}
	if err = v.Ready(need...); err != nil {
		return o, err
	}
	for _, c := range v.texts("chip") {
		if err := v.checkChip(c); err != nil {
			return o, err
		}
	}
	o.Chips = v.texts("chip")
	ranks, err := v.planned()
	if err != nil {
		return o, err
	}
	for _, n := range lengths {
		x := plan.Options{MaxCtx: longest, CtxGiven: v.Given("ctx"), Memory: v.memory(), Window: v.window(),
			Model: v.text("model"), Shape: v.text("shape"), Overview: len(lengths)*len(o.Chips) > 1}
		if x.Positions, err = v.positions(); err != nil {
			return o, err
		}
		if x.Training, err = v.run(n); err != nil {
			return o, err
		}
		x.Processes, x.Peers, x.Memory.Machine = ranks, ranks, ranks
		o.At = append(o.At, x)
	}
	return o, nil
}

// Chip is a machine that is not here, by name or by its memory; ok is false for this one.
func Chip(name string) (m machine.Machine, ok bool) {
	if m, ok = machine.Named(name); ok || slices.Contains(Chips, name) {
		return m, ok
	}
	n, _ := parseBytes(name) // which is checked
	return machine.Sized(n), true
}

// chip is a check of a chip.
func chip(value string) string {
	if _, ok := machine.Named(value); ok || slices.Contains(Chips, value) {
		return ""
	}
	if reason := machine.Refused(value); reason != "" {
		return reason
	}
	if n, ok := parseBytes(value); ok && n >= 1<<30 {
		return ""
	}
	return "not one of " + strings.Join(Chips, ", ") + ", nor a card's memory such as 16GiB"
}

// checkChip checks that a chip computes what is asked for. Of a chip and a --device of another kind the stronger
// source's stays.
func (v *Values) checkChip(chip string) error {
	kind := "cuda"
	switch chip {
	case "auto":
		return nil
	case "cpu":
		kind = "cpu"
	}
	p := v.Place()
	if p.Kind != "auto" && p.Kind != kind {
		if v.Exclusive("chip", "device") != nil {
			return errs.Usagef("%s %s and %s %s say different things; leave one out", v.by("chip"), chip, v.by("device"),
				v.text("device"))
		}
		if !v.Given("chip") {
			return nil
		}
		p = v.Place()
	}
	return p.Check(kind)
}

// Bench are the options of bench.
func (v *Values) Bench() (o bench.Options, err error) {
	if err = v.Ready("ctx"); err != nil {
		return o, err
	}
	o.Shape, o.Steps, o.Warmup = v.text("shape"), v.whole("steps"), v.whole("warmup")
	o.OneEach = !v.Given("batch")
	for _, n := range v.lengths("ctx") {
		t := train.Options{Memory: v.memory()}
		if t.Training, err = v.step(n); err != nil {
			return o, err
		}
		v.optimizer(&t)
		if err := checkRoll(t.Training); err != nil {
			return o, err
		}
		o.At = append(o.At, t)
	}
	return o, nil
}
