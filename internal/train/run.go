// Package train is the training run: rows in order, optimizer steps, checkpoints, and going on from them.
package train

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/rundir"
	"longlora/internal/ui"
)

// GCPercent keeps Go's heap close to what is alive: the token ids are most of it, and garbage as large as they are
// would be memory that no plan counted.
const GCPercent = 10

// busy is said to who comes second.
var busy = "another run is at work in this folder; wait for it, or choose another " + errs.Option("out").String()

// Run trains as the options say and returns what the run's end reports. log receives facts and progress. A cancelled
// ctx drops the step in progress, saves the last completed one and ends with an error of kind Interrupted.
func Run(ctx context.Context, c *Options, be ops.Backend, log io.Writer) (rundir.Result, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(GCPercent))
	var folder *files.Locked
	if c.Ranks.Rank() == 0 {
		if err := checkOut(c); err != nil {
			return rundir.Result{}, err
		}
		var err error
		folder, err = files.Lock(c.Out, busy)
		if err != nil {
			return rundir.Result{}, err
		}
		defer folder.Release()
	}
	var s *setup
	if err := proc.Intact(func() (err error) {
		s, err = newSetup(ctx, c, be, log)
		return err
	}); err != nil {
		return rundir.Result{}, err
	}
	defer s.close()
	s.notes(log)
	s.base.Log = log
	r := &run{setup: s, log: log, folder: folder}
	switch done, err := r.agree(); {
	case err != nil: // the record may not be there
		return rundir.Result{}, err
	case done:
		return r.reported(), nil
	}
	defer r.closeMetrics()
	r.mends()
	r.at("planning", "planning", 0)
	defer c.Watch.Run()()
	if err := proc.Intact(r.start); err != nil {
		return rundir.Result{}, r.base.Blame(err)
	}
	defer r.engine.Close()
	err := r.loop(ctx)
	if err == nil {
		err = r.engine.Leave()
	}
	if err != nil {
		return rundir.Result{}, r.failed(r.base.Blame(err))
	}
	ui.Fact(log, "writing", "%s", c.Out)
	r.at("saving", "writing the result", r.stateBytes())
	if err := r.finish(); err != nil {
		return rundir.Result{}, r.base.Blame(err)
	}
	return r.reported(), nil
}

// failed writes into the run's record that its numbers ended it, which its report says, and passes the error on. What
// goes on or begins again writes the record anew.
func (r *run) failed(err error) error {
	if errs.Code(err) != int(errs.Numeric) || r.c.Ranks.Rank() > 0 {
		return err
	}
	rec, unread := readOwn(r.c.Out)
	if unread != nil {
		return err // which says more than this
	}
	rec.Failed = errs.Plain(err)
	if unwritten := rundir.Write(r.c.Out, rec); unwritten != nil {
		return errs.Numericf("%w; nor could that be written down: %w", err, unwritten)
	}
	return err
}

// reported is the finished run's result where this rank has it.
func (r *run) reported() (res rundir.Result) {
	if r.rec.Result != nil {
		res = *r.rec.Result
	}
	return res
}

// run is a set-up at work.
type run struct {
	*setup
	log     io.Writer
	folder  *files.Locked // --out, of rank 0
	rec     *Record
	sources []*source
	from    string // the checkpoint that the run goes on from, "" without
	others  bool   // which was written by other ranks than these: its plan is not theirs
	engine  *Engine
	metrics *curves
	batches load.Batches
	savedAt int // the step of the newest checkpoint, -1 without any
	peaks   machine.Peaks
	meeting Meeting
	best    best

	stepSeconds float64 // that a step is predicted to take at most
}

// result is what the finished run reports; means and validation are those of its lines of metrics.
func (r *run) result() (*rundir.Result, error) {
	st := r.rec.State
	res := &rundir.Result{Steps: st.Step, FullSteps: r.fullSteps(), Loss: st.Loss, Tokens: st.Tokens, Seconds: st.Seconds,
		Out: r.c.Out}
	lines, _, err := rundir.ReadMetrics(filepath.Join(r.c.Out, rundir.MetricsFile))
	res.Sum(lines)
	if res.Stopped = st.Stopped; res.Stopped {
		res.FullSteps = 0
		for _, m := range lines {
			if m.Attn == "full" {
				res.FullSteps++
			}
		}
	}
	return res, err
}

// start plans, says what will be done, takes the memory and restores the saved state.
func (r *run) start() error {
	if err := r.together(r.saved()); err != nil {
		return err
	}
	r.rec.Plan, r.rec.Steps, r.rec.FullSteps = r.plan, r.steps, r.fullSteps()
	if _, err := r.facts(r.log, r.rec.State.Step); err != nil {
		return err
	}
	if err := r.predict(); err != nil {
		return err
	}
	r.at("loading", "loading the model", r.modelBytes()+r.stateBytes())
	var err error
	if r.engine, err = r.setup.engine(); err != nil {
		return err
	}
	r.meeting = Meeting{Ranks: r.c.Ranks, Peaks: &r.peaks}
	r.meeting.Join(r.engine)
	if r.from != "" {
		r.resuming()
		if err = r.restored(); err != nil {
			r.engine.Close()
			return err
		}
	}
	if err := r.prepareOut(); err != nil { // last: a checkpoint that cannot be restored has removed nothing
		r.engine.Close()
		return err
	}
	debug.FreeOSMemory() // what loading left behind is not part of the run
	r.peaks = machine.Peaks{Machine: r.machine}
	r.batches = load.Batches{Seed: r.c.Seed, Drop: r.tr.Drop > 0}
	return nil
}

// saved is the plan of the state that the run goes on from; nil where it begins.
func (r *run) saved() *plan.Plan {
	if r.from == "" {
		return nil
	}
	return &r.rec.Plan
}

// resuming says what the run goes on from.
func (r *run) resuming() {
	fmt.Fprintf(r.log, "resuming    after step %d, from %s\n", r.rec.State.Step, r.from)
}

// prepareOut makes --out this run's, as it was after the step that the run continues from: it removes what a killed run
// left half written, and checkpoints and metrics of steps that will be done again.
func (r *run) prepareOut() error {
	if r.c.Ranks.Rank() > 0 {
		return nil
	}
	if err := rundir.Write(r.c.Out, r.rec); err != nil { // first: from here on the folder is known for a run
		return err
	}
	for _, dir := range []string{r.c.Out, filepath.Join(r.c.Out, rundir.CheckpointsDir)} {
		if err := files.Sweep(dir); err != nil {
			return err
		}
	}
	dirs, err := rundir.Checkpoints(r.c.Out)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if rundir.StepOf(d) > r.rec.State.Step {
			if err := files.Drop(d); err != nil {
				return err
			}
		}
	}
	lines := r.rec.State.Step
	if r.rec.State.Pending != nil {
		lines-- // the last step's line waits for its validation
	}
	if r.metrics, err = openCurves(r.c.Out, r.from, lines, r.parameters()); err != nil {
		return err
	}
	if n := lines - r.metrics.had; n > 0 {
		fmt.Fprintf(r.log, "warning: %s has lost the lines of %d steps\n", filepath.Join(r.c.Out, rundir.MetricsFile), n)
	}
	before, _, err := rundir.ReadMetrics(filepath.Join(r.c.Out, rundir.MetricsFile))
	if err != nil {
		return err
	}
	r.best = bestOf(before)
	return r.writeConfig()
}

// parameters are what TensorBoard's table compares runs by: the options that decide what is trained, and what stands
// for those that name a folder or were left to the program.
func (r *run) parameters() map[string]string {
	out := maps.Clone(r.rec.Options)
	out["model"], out["steps"], out["dtype"] = filepath.Base(r.c.Model), strconv.Itoa(r.rec.Steps), r.rec.DType
	out["rope"] = fmt.Sprint(r.rec.Positions.Rope["rope_type"])
	return out
}

// finish writes the outputs; run.json says last that the run is done.
func (r *run) finish() error {
	if r.c.Ranks.Rank() > 0 {
		return nil
	}
	if err := r.folder.Check(); err != nil {
		return err
	}
	if err := r.writeOutputs(r.engine); err != nil {
		return err
	}
	names, err := r.resultFiles()
	if err != nil {
		return err
	}
	if r.rec.Files, err = files.Folder(r.c.Out, names...); err != nil {
		return err
	}
	if r.rec.Result, err = r.result(); err != nil {
		return err
	}
	if err := rundir.Write(r.c.Out, r.rec); err != nil {
		return err
	}
	if err := r.metrics.Done(); err != nil {
		return err
	}
	r.sayBest()
	if err := r.card(); err != nil {
		return err
	}
	return r.folder.Check()
}
