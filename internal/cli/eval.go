package cli

import (
	"slices"

	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/files"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
)

// asked are the positions that a model or an adapter is to be read with instead of its own: auto in a file, as a run
// leaves it, is nothing but the default.
func (v *Values) asked() (eval.Asked, error) {
	r, err := v.positions()
	a := eval.Asked{BaseCtx: r.BaseCtx}
	if v.Given("rope-factor") || v.Given("rope") && !(r.Rope == "auto" && v.InFile("rope")) {
		a.Request = &r
	}
	return a, err
}

// Eval are the options of eval.
func (v *Values) Eval() (o eval.Options, report string, err error) {
	need := []string{"model", "task", "ctx"}
	if slices.Contains(v.texts("task"), "ppl") {
		need = append(need, "data")
	}
	if err = v.Ready(need...); err != nil {
		return o, "", err
	}
	if o.Asked, err = v.asked(); err != nil {
		return o, "", err
	}
	o.Options, o.Memory, o.Window, o.Documents = v.attention(), v.memory(), v.window(), v.documents()
	o.Models, o.Adapter, o.Out, o.Tasks, o.Data = v.texts("model"), v.text("adapter"), v.text("out"), v.texts("task"),
		v.texts("data")
	o.Ctx, o.Stride, o.Limit, o.Protocol = v.lengths("ctx"), v.tokens("stride"), v.whole("limit"), v.text("protocol")
	o.Trials, o.Depths, o.Seed, o.Words = v.whole("trials"), v.whole("depths"), v.seed("seed"), v.text("passkey-template")
	o.Haystack, o.StreamLayers, o.Weights = v.text("haystack"), v.count("stream-layers"), v.text("weights")
	o.Products = v.text("products")
	if v.InFile("out") && files.SameDir(o.Out, o.Adapter) {
		o.Out = "" // of the training run that shares the file
	}
	o.Tasks, o.Ctx = once(v, "task", o.Tasks, equal), once(v, "ctx", o.Ctx, equal)
	o.Models = once(v, "model", o.Models, oneModel)
	v.idleEval()
	for _, n := range o.Ctx { // before anything is computed
		if err := o.CheckRoll(n); err != nil {
			return o, "", err
		}
	}
	return o, v.text("report"), nil
}

// Prompt is what generate begins with: a text, or the file that holds one, or the file of conversations; none of them
// where messages come from standard input as they are typed.
type Prompt struct{ Text, File, Messages string }

// Generate are the options of generate, and its prompt.
func (v *Values) Generate() (o eval.Continuation, p Prompt, err error) {
	need := []string{"model"}
	if !v.truth("chat") && !v.Given("messages") {
		need = append(need, "prompt|prompt-file")
	}
	if err = v.Ready(need...); err != nil {
		return o, p, err
	}
	if err = v.Exclusive("messages", "prompt-file"); err != nil {
		return o, p, err
	}
	if o.Positions, err = v.asked(); err != nil {
		return o, p, err
	}
	o.Memory, o.Window, o.Model, o.Adapter = v.memory(), v.window(), v.text("model"), v.text("adapter")
	o.Own, o.AddBOS = v.ownSystem(), v.text("add-bos")
	o.Chat, o.Template, o.System, o.Stop = v.truth("chat"), v.text("template"), v.text("system"), v.texts("stop")
	o.MaxTokens, o.Fewer, o.Overlong = v.tokens("max-tokens"), !v.Given("max-tokens"), v.text("overlong")
	o.StreamLayers, o.Weights, o.Products = v.count("stream-layers"), v.text("weights"), v.text("products")
	o.Temperature, o.TopP, o.Seed = v.real("temperature"), v.real("top-p"), v.seed("seed")
	v.idleGenerate()
	p = Prompt{v.text("prompt"), v.text("prompt-file"), v.text("messages")}
	o.Chat = o.Chat || p.Messages != ""
	if o.System != "" && !o.Chat {
		return o, p, errs.Usagef("--system: without --chat the prompt is taken as it is; add --chat")
	}
	if o.Own.Written && !o.Chat {
		return o, p, errs.Usagef("--system-default: without --chat the prompt is taken as it is; add --chat")
	}
	if slices.Contains(o.Stop, "") {
		return o, p, errs.Usagef("--stop: an empty text stops everything; leave the flag out")
	}
	return o, p, nil
}

// Merge are the options of merge.
type Merge struct {
	Model, Adapter, Out string
	DType               string // auto, fp32, bf16 or fp16
	Scale               float64
	Onto                string // the 16-bit original of a quantised base, "" for none
	ShardSize           int64  // bytes
	Threads             int    // 0: all cores
	Window              *s2attn.Choice
	Positions           *rope.Request // nil: as they lie beside the adapter
	// the context is a shared file's, where it is train's: what lies beside the adapter is meant
	CtxOfFile bool
}

// Merge are the options of merge.
func (v *Values) Merge() (o Merge, err error) {
	if err = v.Ready("model", "adapter", "out"); err != nil {
		return o, err
	}
	o.DType, o.ShardSize = v.text("dtype"), *v.bytes("max-shard-size")
	err = v.merged(&o)
	return o, err
}

// Export are the options of export: a merge's, and the type of the matrices.
type Export struct {
	Merge
	Type string // auto, f32, f16, bf16 or q8_0
}

// Export are the options of export.
func (v *Values) Export() (o Export, err error) {
	if err = v.Ready("model", "out"); err != nil {
		return o, err
	}
	o.Type = v.text("type")
	err = v.merged(&o.Merge)
	return o, err
}

// merged fills in what merge and export share.
func (v *Values) merged(o *Merge) error {
	asked, err := v.asked()
	if err != nil {
		return err
	}
	o.Model, o.Adapter, o.Out, o.Onto = v.text("model"), v.text("adapter"), v.text("out"), v.text("onto")
	o.Scale, o.Threads, o.Window = v.real("scale"), v.whole("threads"), v.window()
	if asked.Request != nil || v.Given("ctx") {
		r, err := v.positions()
		if err != nil {
			return err
		}
		r = r.At(v.tokens("ctx"))
		o.Positions, o.CtxOfFile = &r, asked.Request == nil && v.InFile("ctx")
	}
	return nil
}

// Prepare are the options of prepare.
type Prepare struct {
	Data       data.Options
	Model, Out string
	Stats      []int // contexts to measure the documents by; nil: none
	Threads    int   // 0: all cores
}

// Prepare are the options of prepare.
func (v *Values) Prepare() (o Prepare, err error) {
	if err = v.Ready("model", "data", "out"); err != nil {
		return o, err
	}
	if v.truth("no-special") && v.text("add-bos") == "always" {
		if err = v.Exclusive("no-special", "add-bos"); err != nil {
			return o, err
		}
	}
	o.Data, o.Model, o.Out, o.Threads = v.documents(), v.text("model"), v.text("out"), v.whole("threads")
	o.Data.Paths, o.Data.NoSpecial = v.texts("data"), v.truth("no-special")
	if n := len(o.Data.Paths); n != 1 {
		return o, errs.Usagef("--data: %d given; prepare one at a time, each into a file of its own", n)
	}
	if !v.truth("stats") {
		v.none(" without --stats", "ctx")
	} else if o.Stats = once(v, "ctx", v.lengths("ctx"), equal); len(o.Stats) == 0 {
		o.Stats = []int{4096, 8192, 16384, 32768}
	}
	if o.Data.Format == "tokens" {
		return o, errs.Usagef("--format tokens: token ids need no preparing")
	}
	return o, nil
}
