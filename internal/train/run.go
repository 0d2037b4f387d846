// Package train is the training run: rows in order, optimizer steps, checkpoints, and going on from them.
package train

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/ops"
)

// gcPercent keeps Go's heap close to what is alive: the token ids are most of it, and garbage as large as they are
// would be memory that no plan counted.
const gcPercent = 10

// Run trains as the options say and returns what the run's end reports. log receives facts and progress. A cancelled
// ctx drops the step in progress, saves the last completed one and ends with an error of kind Interrupted. A dry run
// only says what would be done: see DryRun.
func Run(ctx context.Context, c *config.Train, be ops.Backend, log io.Writer) (Result, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	if c.DryRun {
		_, err := DryRun(ctx, c, be, log)
		return Result{}, err
	}
	if c.Resume == "never" && holdsRun(c.Out) {
		return Result{}, errs.Usagef("--resume never: --out %s holds a run already; choose another folder or remove it", c.Out)
	}
	s, err := newSetup(ctx, c, be, log)
	if err != nil {
		return Result{}, err
	}
	defer s.close()
	s.notes(log)
	s.base.Log = log
	release, err := lock(c.Out)
	if err != nil {
		return Result{}, err
	}
	defer release()
	r := &run{setup: s, log: log}
	if done, err := r.findState(); err != nil || done {
		return r.result(), err
	}
	if err := r.start(); err != nil {
		return Result{}, err
	}
	defer r.engine.Close()
	if err := r.loop(ctx); err != nil {
		return Result{}, r.base.Blame(err)
	}
	return r.result(), r.base.Blame(r.finish())
}

// run is a set-up at work.
type run struct {
	*setup
	log     io.Writer
	rec     *Record
	from    string // the checkpoint that the run goes on from, "" without
	engine  *Engine
	metrics *curves
	batches builder
	savedAt int // the step of the newest checkpoint, -1 without any
	peaks   peaks
}

// findState looks for a saved state that this run goes on from. done says that there is nothing left to do.
func (r *run) findState() (done bool, err error) {
	r.savedAt = -1
	if r.rec, err = r.newRecord(); err != nil {
		return false, err
	}
	if r.c.Resume == "never" {
		return false, nil
	}
	if finished, err := r.finished(); finished || err != nil {
		return finished, err
	}
	if r.from, err = r.latest(); err != nil || r.from == "" {
		return false, err
	}
	saved, err := ReadRecord(r.from)
	if err != nil {
		return false, err
	}
	if err := r.rec.compare(saved, "--resume "+r.c.Resume+": "+r.from, r.c.Replan); err != nil {
		return false, err
	}
	if saved.Version != r.rec.Version || saved.Go != r.rec.Go {
		fmt.Fprintf(r.log, "note: the checkpoint is of longlora %s (%s), this is %s (%s): the last bits may differ\n", saved.Version, saved.Go, r.rec.Version, r.rec.Go)
	}
	r.rec.State, r.savedAt = saved.State, saved.State.Step
	r.rec.Plan = saved.Plan
	if r.steps < saved.State.Step {
		fmt.Fprintf(r.log, "note: %d steps are done already, more than the %d asked for\n", saved.State.Step, r.steps)
		r.steps = saved.State.Step
	}
	return false, nil
}

// finished reports whether --out holds this very run with all steps done; its result is then the record's.
func (r *run) finished() (bool, error) {
	if _, err := os.Stat(filepath.Join(r.c.Out, recordName)); err != nil || r.c.Resume != "auto" {
		return false, nil
	}
	saved, err := ReadRecord(r.c.Out)
	if err != nil || saved.Result == nil || saved.Result.Steps < r.steps {
		return false, err
	}
	if err := r.rec.compare(saved, "--resume auto: "+r.c.Out, r.c.Replan); err != nil {
		return false, err
	}
	r.rec.State = saved.State
	fmt.Fprintf(r.log, "finished already: %d steps in %s\n", saved.Result.Steps, r.c.Out)
	return true, nil
}

// result is what the run reports.
func (r *run) result() Result {
	st := r.rec.State
	return Result{Steps: st.Step, Loss: st.Loss, Tokens: st.Tokens, Seconds: st.Seconds, Out: r.c.Out}
}

// start plans, says what will be done, takes the memory and restores the saved state.
func (r *run) start() error {
	saved := &r.rec.Plan
	if r.from == "" {
		saved = nil
	}
	if err := r.choose(saved, r.c.Replan); err != nil {
		return err
	}
	r.rec.Plan, r.rec.Steps = r.plan, r.steps
	if _, err := r.facts(r.log, r.rec.State.Step); err != nil {
		return err
	}
	if err := r.prepareOut(); err != nil {
		return err
	}
	var err error
	if r.engine, err = r.setup.engine(); err != nil {
		return err
	}
	if r.from != "" {
		fmt.Fprintf(r.log, "resuming    after step %d, from %s\n", r.rec.State.Step, r.from)
		if err = r.restore(r.engine, r.from); err != nil {
			r.engine.Close()
			return err
		}
	}
	debug.FreeOSMemory() // what loading left behind is not part of the run
	r.peaks = peaks{machine: r.machine}
	r.batches = builder{seed: r.c.Seed, drop: r.tr.Drop > 0}
	return nil
}

// prepareOut brings --out to the state that is gone on from: what a killed run left half written goes, and so do
// checkpoints and metrics of steps that will be done again.
func (r *run) prepareOut() error {
	if err := sweep(r.c.Out); err != nil {
		return err
	}
	dirs, err := checkpoints(r.c.Out)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if stepOf(d) > r.rec.State.Step {
			if err := dropDir(d); err != nil {
				return err
			}
		}
	}
	lines := r.rec.State.Step
	if r.rec.State.Pending != nil {
		lines-- // the last step's line waits for its validation
	}
	if r.metrics, err = openCurves(r.c.Out, r.from, lines); err != nil {
		return err
	}
	if err := r.writeConfig(); err != nil {
		return err
	}
	return r.rec.write(r.c.Out)
}

// finish writes the outputs; run.json says last that the run is done.
func (r *run) finish() error {
	if err := r.writeOutputs(r.engine); err != nil {
		return err
	}
	res := r.result()
	r.rec.Result = &res
	return r.rec.write(r.c.Out)
}
