// Package extend is the whole way in one command: evaluate the base, train, merge, evaluate again, report.
package extend

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/ops"
	"longlora/internal/rope"
	"longlora/internal/rundir"
	"longlora/internal/s2attn"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// Figures are what one model scores at one length.
type Figures = eval.Figures

// Length is one row of the report.
type Length struct {
	Ctx          int     `json:"ctx"`
	Base         Figures `json:"base"`
	Interpolated Figures `json:"interpolated"`
	Trained      Figures `json:"trained"`
}

// Report is report.json.
type Report struct {
	Model     string           `json:"model"`
	Ctx       int              `json:"ctx"`
	Positions rundir.Positions `json:"positions"`
	Lengths   []Length         `json:"lengths"`
	Train     *rundir.Result   `json:"train"`
	Protocol  string           `json:"protocol"` // of the perplexity
	Stride    int              `json:"stride"`
	Options   map[string]any   `json:"options"`
	Out       string           `json:"out"`
}

// Options are train's, whose Out is the whole work's, and how to evaluate.
type Options struct {
	train.Options
	DoTrain   bool
	EvalLimit int // windows of perplexity a length
	Trials    int // passkeys a depth
	Depths    int
	Words     string // a file of the passkey task's words, "" for the paper's
	Threads   int
	Train     func(ctx context.Context) error // trains in other processes; nil: this one does
	Given     []train.Setting                 // all options, as they were given
}

type extension struct {
	cfg    *Options
	be     ops.Backend
	log    io.Writer
	base   *load.Base
	pos    load.Positions
	stream *data.IDs
	rep    Report
	work   work
	merged bool // merged/ is there, as it was written
}

// busy is said to who comes second.
var busy = "another extend is at work in this folder; wait for it, or choose another " + errs.Option("out").String()

// Run does what is left of the work in --out.
func Run(ctx context.Context, cfg *Options, be ops.Backend, log io.Writer) (Report, error) {
	said := &once{w: log, said: map[string]bool{}}
	e := &extension{cfg: cfg, be: be, log: said}
	if err := checkOut(cfg); err != nil { // before anything is read
		return e.rep, err
	}
	lock, err := files.Lock(cfg.Out, busy)
	if err != nil {
		return e.rep, err
	}
	defer lock.Release()
	if err := e.open(ctx); err != nil {
		return e.rep, err
	}
	defer e.base.Close()
	defer e.stream.Close()
	if err := e.claim(ctx); err != nil {
		return e.rep, err
	}
	said.begin()
	for _, stage := range []func(context.Context) error{e.before, e.train, e.merge, e.after} {
		if ctx.Err() != nil {
			return e.rep, errs.Interruptedf("interrupted; the same command goes on from %s", cfg.Out)
		}
		err := stage(ctx)
		if err == nil {
			err = lock.Check()
		}
		if err != nil {
			return e.rep, err
		}
	}
	if err := files.WriteJSON(filepath.Join(cfg.Out, rundir.ReportFile), e.rep); err != nil {
		return e.rep, err
	}
	return e.rep, e.card()
}

// DryRun says on log what the training would do, as train's does, and how long all of it would take; nothing is
// evaluated and nothing written.
func DryRun(ctx context.Context, cfg *Options, be ops.Backend, log io.Writer) (out Estimate, err error) {
	e := &extension{cfg: cfg, be: be, log: &once{w: log, said: map[string]bool{}}}
	if err := checkOut(cfg); err != nil {
		return out, err
	}
	if files.Held(cfg.Out) {
		return out, errs.Usagef("%s: %s", cfg.Out, busy)
	}
	if err := e.open(ctx); err != nil {
		return out, err
	}
	defer e.base.Close()
	defer e.stream.Close()
	if _, err := e.begun(); err != nil {
		return out, err
	}
	training := 0.0
	if cfg.DoTrain {
		t := e.training()
		t.Memory.Machine = t.Ranks.Size() // the processes share it; evaluation has it all
		if out.Facts, err = train.DryRun(ctx, t, be, e.log); err != nil {
			return out, err
		}
		training = out.Seconds
	}
	out.EvaluationS, err = e.estimate(ctx, training)
	out.AllS = training + out.EvaluationS
	return out, err
}

// open reads the base and the held-out text.
func (e *extension) open(ctx context.Context) (err error) {
	c := e.cfg
	if e.base, err = load.Open(c.Model, ""); err != nil {
		return err
	}
	if err := ckpt.CanCarry(e.base.Dir); err != nil {
		return err
	}
	if err := e.base.Apart(c.Out, c.Adapter); err != nil {
		return err
	}
	if err := e.base.ChooseWindow(c.Window, c.Adapter); err != nil {
		return err
	}
	if e.pos, err = e.base.Place(c.Adapter, c.Positions.At(c.Ctx)); err != nil {
		return err
	}
	o, _, err := load.Documents(e.base.Dir, e.base.Config.V, e.base.Config.EOS, c.Documents)
	if err != nil {
		return err
	}
	if o.HostMem, err = c.Memory.HostLimit(); err != nil {
		return err
	}
	o.Paths, o.HoldDocs, o.Log = c.Data, e.cfg.heldOut(), e.log
	if len(c.EvalData) > 0 {
		o.Paths, o.Option = c.EvalData, "eval-data"
	}
	if e.stream, err = data.Stream(ctx, o); err != nil {
		return err
	}
	e.rep = Report{Model: c.Model, Ctx: c.Ctx, Protocol: protocol, Stride: stride,
		Positions: e.base.Record(e.pos.Positions), Options: map[string]any{}, Out: c.Out}
	for _, x := range c.Given {
		e.rep.Options[string(x.Option)] = x.Value
	}
	for n := e.base.Positions.Reads(c.Positions.BaseCtx); n < c.Ctx; n *= 2 {
		e.rep.Lengths = append(e.rep.Lengths, Length{Ctx: n})
	}
	e.rep.Lengths = append(e.rep.Lengths, Length{Ctx: c.Ctx})
	return nil
}

// heldOut is the share of the documents that is evaluated on and never trained on.
func (o *Options) heldOut() float64 {
	if len(o.EvalData) > 0 {
		return 0
	}
	return 0.05
}

// evaluate scores one model at every length.
func (e *extension) evaluate(ctx context.Context, what, dir string, pos *rope.Positions, window *s2attn.Choice,
	put func(*Length) *Figures) error {
	fmt.Fprintf(e.log, "evaluating the %s model\n", what)
	job := e.job(dir, pos, window)
	job.Out = filepath.Join(e.cfg.Out, rundir.EvaluatedDir, what)
	rep, err := eval.Run(ctx, job, e.be, e.log)
	if err != nil {
		return err
	}
	for _, r := range rep.Results {
		for i := range e.rep.Lengths {
			if l := &e.rep.Lengths[i]; l.Ctx == r.Ctx {
				put(l).Add(r)
			}
		}
	}
	return nil
}

// before evaluates the base as its config says, and with the new positions, untrained.
func (e *extension) before(ctx context.Context) error {
	if err := e.evaluate(ctx, "base", e.base.Dir, nil, nil, func(l *Length) *Figures { return &l.Base }); err != nil {
		return err
	}
	return e.evaluate(ctx, "interpolated", e.base.Dir, &e.pos.Positions, &e.base.Window,
		func(l *Length) *Figures { return &l.Interpolated })
}

// training are train's options in adapter/.
func (e *extension) training() *train.Options { return e.cfg.Training() }

// Training are the options of the training run in adapter/.
func (o *Options) Training() *train.Options {
	c := o.Options
	c.HoldDocs, c.EvalData = o.heldOut(), nil
	c.Out = filepath.Join(o.Out, rundir.AdapterDir)
	return &c
}

// train runs or goes on with the training run in adapter/.
func (e *extension) train(ctx context.Context) error {
	if !e.cfg.DoTrain {
		return nil
	}
	c, log := e.training(), e.log
	if e.cfg.Train != nil {
		if err := e.cfg.Train(ctx); err != nil {
			return err
		}
		c.Ranks, c.Resume, log = nil, "auto", io.Discard // it is done, and this reads what it reports
	}
	res, err := train.Run(ctx, c, e.be, log)
	e.rep.Train = &res
	return err
}

// merge writes merged/ unless it is there: it appears whole or not at all, and only when its files are written down.
func (e *extension) merge(ctx context.Context) error {
	out := filepath.Join(e.cfg.Out, rundir.MergedDir)
	if e.merged {
		return nil
	}
	o := lora.MergeOptions{Base: e.base.Weights, Desc: e.base.Desc(), Adapter: &ckpt.Adapter{}, Scale: 1,
		Positions: e.pos.Positions, Changed: e.pos.Changed, Window: e.base.Window, Out: out, ShardSize: 5 << 30,
		Threads: e.cfg.Threads, Log: e.log}
	if e.cfg.DoTrain {
		b, err := load.Open(e.cfg.Model, filepath.Join(e.cfg.Out, rundir.AdapterDir))
		if err != nil {
			return err
		}
		defer b.Close()
		if err := b.ChooseWeights(load.AsStored, b.Adapter.Dir, true); err != nil {
			return err
		}
		o.Base, o.Desc, o.Adapter, o.Trained = b.Weights, b.Desc(), b.Adapter, b.Beside()
	}
	o.Written = func(dir string) error { return e.work.record(e.cfg.Out, dir) }
	res, err := lora.Merge(ctx, o)
	if err == nil && res.Distance != nil {
		fmt.Fprintf(e.log, "merged: %s\n", res)
	}
	return err
}

// after evaluates what was merged.
func (e *extension) after(ctx context.Context) error {
	return e.evaluate(ctx, "trained", filepath.Join(e.cfg.Out, rundir.MergedDir), nil, nil,
		func(l *Length) *Figures { return &l.Trained })
}

// Table prints the report side by side, a block a measure.
func (r Report) Table(w io.Writer) {
	last := "trained"
	if r.Train == nil {
		last = "merged"
	}
	var rows [][]string
	for _, m := range measures {
		if !slices.ContainsFunc(r.Lengths, func(l Length) bool { return m.has(l.Base) || m.has(l.Trained) }) {
			continue
		}
		if rows != nil {
			rows = append(rows, []string{""})
		}
		rows = append(rows, []string{m.name, "base", "interpolated", last})
		for _, l := range r.Lengths {
			rows = append(rows, []string{fmt.Sprintf("%d tokens", l.Ctx), m.show(l.Base), m.show(l.Interpolated),
				m.show(l.Trained)})
		}
	}
	ui.Table(w, rows)
}

// On says on what the figures were measured, and how.
func (r Report) On() string {
	text := func(name string) string {
		if list, ok := r.Options[name].([]string); ok {
			return strings.Join(list, ", ")
		}
		if x := r.Options[name]; x != nil {
			return fmt.Sprint(x)
		}
		return ""
	}
	on := text("eval-data")
	if on == "" {
		on = "the held-out end of " + text("data")
	}
	return fmt.Sprintf("perplexity on %s: %s a length, %s protocol, stride %d; "+
		"recall: %s × %s; seed %s", on, ui.Several(text("eval-limit"), "window"), r.Protocol, r.Stride,
		ui.Several(text("depths"), "depth"), ui.Several(text("trials"), "passkey"), text("seed"))
}
