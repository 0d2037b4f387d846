package eval

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/tokenizer"
	"longlora/internal/ui"
)

// evaluation is one model's.
type evaluation struct {
	cfg    Job
	be     ops.Backend
	log    io.Writer
	name   string
	words  Template
	hay    *haystack // nil: none was given
	base   *load.Base
	print  string // of everything that the model's results depend on but the task
	enc    *tokenizer.Tokenizer
	encErr error
	stream *data.IDs
	keep   *journal
	share  *share // while several ranks compute
	engine *engine
	said   told
}

// item is one task at one length, found to be possible.
type item struct {
	res  Result
	spec s2attn.Spec
	ask  plan.Request
	pos  rope.Positions
	ws   []Window // of ppl
	key  string   // begins the keys of its results
}

// Run evaluates every model, task and length.
func Run(ctx context.Context, cfg Job, be ops.Backend, log io.Writer) (Report, error) {
	rep := Report{Results: []Result{}, Data: cfg.Data, Seed: cfg.Seed}
	words, hay, err := cfg.texts(log)
	if err != nil {
		return rep, err
	}
	j, err := cfg.journal()
	if err != nil {
		return rep, err
	}
	defer j.close()
	if n := j.note(); n != "" {
		fmt.Fprintf(log, "warning: %s\n", n)
	}
	for _, name := range cfg.Models {
		e := &evaluation{cfg: cfg, be: be, log: log, name: name, words: words, hay: hay, keep: j, stream: cfg.Stream,
			said: told{}}
		var rs []Result
		err := proc.Intact(func() (err error) {
			rs, err = e.run(ctx)
			return err
		})
		if t := e.stream; t != nil && cfg.Stream == nil {
			t.Close()
		}
		if err != nil {
			return rep, err
		}
		rep.Results = append(rep.Results, rs...)
	}
	return rep, j.finish(rep)
}

// texts are what prompts are made of.
func (cfg Job) texts(log io.Writer) (words Template, hay *haystack, err error) {
	words = Paper
	if cfg.Words != "" {
		if words, err = ReadTemplate(cfg.Words); err != nil {
			return words, nil, err
		}
	}
	if cfg.Haystack != "" {
		var note string
		if hay, note, err = readHaystack(cfg.Haystack); err != nil {
			return words, nil, fmt.Errorf("%s %w", errs.Option("haystack"), err)
		}
		if note != "" {
			fmt.Fprintf(log, "note: %s %s: %s\n", errs.Option("haystack"), cfg.Haystack, note)
		}
	}
	return words, hay, nil
}

// run checks every task at every length before the first is computed.
func (e *evaluation) run(ctx context.Context) (rs []Result, err error) {
	if e.base, err = load.Open(e.name, e.cfg.Adapter); err != nil {
		return nil, err
	}
	defer e.base.Close()
	items, err := e.items(ctx)
	if e.engine != nil {
		defer e.engine.close()
	}
	if err != nil {
		return nil, err
	}
	for _, x := range items {
		if err := e.sayTime(x); err != nil {
			return nil, err
		}
	}
	for _, x := range items {
		task := func(r *model.Runner) error {
			switch x.res.Task {
			case "ppl":
				return e.perplexity(ctx, r, x)
			case "topics":
				return e.topics(ctx, r, x)
			case "ruler":
				return e.ruler(ctx, r, x)
			}
			return e.passkey(ctx, r, x)
		}
		work := func(r *model.Runner) error { return e.spread(x, func() error { return task(r) }) }
		if err := e.base.Blame(e.engine.run(x.ask, x.spec, e.base.Rope(x.pos, x.res.Ctx), work)); err != nil {
			return nil, err
		}
		rs = append(rs, x.res)
	}
	return rs, nil
}

// items are the tasks at their lengths, each found to be possible; nothing is loaded for that.
func (e *evaluation) items(ctx context.Context) (items []*item, err error) {
	if err := e.base.Apart(e.cfg.Out, e.cfg.Adapter); err != nil {
		return nil, err
	}
	e.base.Log = e.log
	if err := e.base.ChooseWindow(e.cfg.Window, e.cfg.Adapter); err != nil {
		return nil, err
	}
	if err := e.base.ChooseWeights(e.cfg.Weights, e.cfg.Adapter, true); err != nil {
		return nil, err
	}
	if e.engine, err = newEngine(e.be, e.base, e.cfg.Memory, e.cfg.StreamLayers); err != nil {
		return nil, err
	}
	if err := e.base.ChooseProducts(e.cfg.Products, &e.engine.planner.Machine); err != nil {
		return nil, err
	}
	for _, n := range e.base.Notes {
		fmt.Fprintf(e.log, "note: %s\n", n)
	}
	if note := load.Unsegmented(e.base.Desc(), s2attn.Spec{Mode: s2attn.Split}); note != "" && e.cfg.Attn == "s2" {
		fmt.Fprintf(e.log, "note: %s\n", note)
	}
	if e.hay != nil && !slices.Contains(e.cfg.Tasks, "ruler") {
		fmt.Fprintf(e.log, "note: %s has no effect without %s ruler\n", errs.Option("haystack"), errs.Option("task"))
	}
	e.enc, e.encErr = tokenizer.Load(e.base.Dir, e.base.Config.EOS)
	if e.encErr == nil {
		e.encErr = e.enc.AddBOS(e.cfg.Documents.AddBOS)
	}
	if e.encErr == nil && !slices.Contains(e.cfg.Tasks, "ppl") { // which reads data, and that tells them
		for _, n := range e.enc.Notes() {
			fmt.Fprintf(e.log, "note: %s\n", n)
		}
	}
	if e.print, err = e.fingerprint(); err != nil {
		return nil, err
	}
	for _, task := range e.cfg.Tasks {
		for _, n := range e.cfg.Ctx {
			x, err := e.prepare(ctx, task, n)
			if e.cfg.SkipShort && errs.Code(err) == int(errs.Data) {
				fmt.Fprintf(e.log, "note: %s at %d tokens is left out: %v\n", task, n,
					strings.TrimPrefix(err.Error(), "the "+task+" task: "))
				continue
			}
			if err == nil {
				_, err = e.engine.planner.Plan(x.ask)
			}
			if err != nil {
				return nil, err
			}
			items = append(items, x)
		}
	}
	return items, nil
}

// positions are the checkpoint's as they are, those beside the adapter, or the flags'.
func (e *evaluation) positions(n int) (rope.Positions, error) {
	if e.cfg.Positions != nil {
		return *e.cfg.Positions, nil
	}
	return e.said.positions(e.base, e.cfg.Adapter, e.cfg.Asked, n, e.log)
}

// prepare checks that a task can be done at a length.
func (e *evaluation) prepare(ctx context.Context, task string, n int) (*item, error) {
	x := &item{res: Result{Task: task, Model: e.name, Ctx: n, Attn: e.cfg.Attn, DType: "fp32", Weights: e.base.Held}}
	if e.be.Act() == tensor.BF16 {
		x.res.DType = "bf16"
	}
	if e.cfg.Adapter != "" {
		x.res.Adapter = &e.cfg.Adapter
	}
	var err error
	if x.pos, err = e.positions(n); err != nil {
		return nil, err
	}
	x.res.Rope, x.res.Sliding = x.pos.String(), e.base.Record(x.pos).Window
	switch task {
	case "ppl":
		if err = e.cfg.CheckRoll(n); err != nil {
			return nil, err
		}
		if x.spec, err = e.cfg.Spec(n); err != nil {
			return nil, err
		}
		x.ask = e.request(plan.Score, n, e.cfg.Spec)
		if x.ws, err = e.windows(ctx, n); err != nil {
			return nil, err
		}
		x.key = e.key(task, n, e.base.Record(x.pos), x.spec)
	case "passkey", "topics", "ruler":
		x.spec, x.res.Attn = s2attn.Spec{Mode: s2attn.Full}, "full" // generated text sees all before it
		if e.encErr != nil {
			return nil, e.encErr
		}
		x.ask = e.request(plan.Session, n, func(int) (s2attn.Spec, error) { return x.spec, nil })
		if _, err = e.engine.planner.Plan(x.ask); err != nil { // before so much text is made
			return nil, err
		}
		enc := stoppable{e.enc, ctx}
		switch task {
		case "passkey":
			if err = e.words.fits(enc, n, e.cfg.Depths, e.cfg.Trials, e.cfg.Seed); err == nil {
				_, err = e.words.Make(e.enc, n, 0, e.cfg.Depths, 0, e.cfg.Seed)
			}
			x.key = e.key(task, n, e.base.Record(x.pos), e.words, e.cfg.Depths, e.cfg.Seed)
		case "topics":
			err = topicsFit(enc, n, e.cfg.Trials, e.cfg.Seed)
			x.key = e.key(task, n, e.base.Record(x.pos), e.cfg.Seed)
		case "ruler":
			err = e.rulerFits(enc, n)
			x.key = e.key(task, n, e.base.Record(x.pos), rulerWords, e.cfg.Seed)
		}
		if err != nil {
			return nil, err
		}
		if e.cfg.Attn == "s2" && slices.Contains(e.cfg.Tasks, "ppl") { // without it the option has no effect at all
			fmt.Fprintf(e.log, "note: %s generates text, which is done with full attention; %s s2 is for ppl\n", task,
				errs.Option("attn"))
		}
	}
	return x, nil
}

// request asks for n tokens, attended as spec says of a length. Where that is too many all longer lengths are to be as
// short as what fits.
func (e *evaluation) request(k plan.Kind, n int, spec func(n int) (s2attn.Spec, error)) plan.Request {
	r := plan.Request{Ctx: n, At: func(n int) (plan.Work, error) {
		s, err := spec(n)
		return e.engine.work(k, n, s), err
	}}
	if e.cfg.Stream != nil { // lengths that no option gave
		return r
	}
	r.To = func(most int) errs.Advice {
		var lengths []string
		for _, n := range e.cfg.Ctx {
			if s := strconv.Itoa(min(n, most)); !slices.Contains(lengths, s) {
				lengths = append(lengths, s)
			}
		}
		return errs.Advice{{Option: "ctx", Value: strings.Join(lengths, ",")}}
	}
	return r
}

// windows reads the stream, once, and lists its windows at a length.
func (e *evaluation) windows(ctx context.Context, n int) ([]Window, error) {
	if e.stream == nil {
		o, _, err := load.Documents(e.base.Dir, e.base.Config.V, e.base.Config.EOS, e.cfg.Documents)
		if err != nil {
			return nil, err
		}
		if o.HostMem, err = e.cfg.Memory.HostLimit(); err != nil {
			return nil, err
		}
		o.Paths, o.Log = e.cfg.Data, e.log
		t, err := data.Stream(ctx, o)
		if err != nil {
			return nil, err
		}
		e.stream = t
	}
	ws := Limit(Windows(e.cfg.Protocol, e.stream.Len(), n, e.cfg.Stride), e.cfg.Limit)
	if len(ws) == 0 {
		least, of := leastTokens(e.cfg.Protocol, n, e.cfg.Stride)
		return nil, errs.Dataf("%s: %d tokens give no window of %s %d under the %s protocol, which wants %d (%s); give more "+
			"text, or make these smaller",
			e.stream.Name(), e.stream.Len(), errs.Option("ctx"), n, e.cfg.Protocol, least, of)
	}
	return ws, nil
}

func (e *evaluation) perplexity(ctx context.Context, r *model.Runner, x *item) error {
	have, keys := map[int]Score{}, make([]string, len(x.ws))
	if e.cfg.Out != "" || e.cfg.Ranks.Size() > 1 {
		for i, w := range x.ws {
			keys[i] = windowKey(x.key, e.stream, w)
			if l, ok := e.keep.have[keys[i]]; ok && l.Score != nil && len(l.Score.Bins) == binCount {
				have[i] = *l.Score
			} else if !e.mine() {
				have[i] = Score{Bins: make([]Sum, binCount)} // another rank's, to be told
			}
		}
	}
	bar := ui.NewProgress(e.log, fmt.Sprintf("ppl %d", x.res.Ctx), len(x.ws), len(have))
	defer bar.Done()
	var far losses
	for _, s := range have {
		far.add(e.cfg.Protocol, s)
	}
	s, err := ScoreAll(ctx, r, e.stream, x.ws, have, func(i int, s Score) error {
		far.add(e.cfg.Protocol, s)
		bar.Step(fmt.Sprintf("perplexity %.2f", math.Exp(far.sum/far.n)))
		return e.put(line{Key: keys[i], Score: &s})
	})
	if err != nil || e.share != nil {
		return err
	}
	loss := Mean(e.cfg.Protocol, s)
	x.res.Protocol, x.res.Stride, x.res.Windows, x.res.Loss = e.cfg.Protocol, e.cfg.Stride, len(x.ws), &loss
	if x.res.PPL, x.res.Note = NewPPL(loss); x.res.Note != "" {
		fmt.Fprintf(e.log, "note: %s at %d tokens: %s\n", e.name, x.res.Ctx, x.res.Note)
	}
	x.res.Positions = Positions(x.res.Ctx, s)
	return nil
}
