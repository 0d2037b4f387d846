package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/ui"
)

// findState looks for a saved state that this run goes on from. done says that there is nothing left to do.
func (r *run) findState() (done bool, err error) {
	r.savedAt = -1
	if r.rec, err = r.newRecord(); err != nil {
		return false, err
	}
	if r.sources, err = r.watch(r.rec); err != nil {
		return false, err
	}
	if r.c.Resume == "never" {
		return false, nil
	}
	if finished, err := r.finished(); finished || err != nil {
		return finished, err
	}
	dirs, err := r.candidates()
	if err != nil || len(dirs) == 0 {
		return false, err
	}
	r.from = dirs[0]
	saved, err := readCheckpoint(r.from)
	if err == nil {
		if err := r.rec.compare(saved, errs.Option("resume").String()+" "+r.c.Resume+": "+r.from, r.byName(), r.c.Replan,
			r.log); err != nil {
			return false, err
		}
		err = files.Intact(r.from, saved.Files)
	}
	p, s, wasP, wasS := r.c.Ranks.Size(), r.c.Ranks.Divided(), 0, 0
	if err == nil {
		wasP, wasS = max(1, saved.Ranks), max(1, saved.Chain)
	}
	if r.others = err == nil && (wasP != p || wasS != s); r.others {
		fmt.Fprintf(r.log, "note: the saved steps were done by %s, the next ones will be by %s: with a new plan, and "+
			"other last bits than those would have had\n", processes(wasP/wasS, wasS), processes(r.c.Ranks.Chains(), s))
	}
	if err == nil && !r.c.Replan && !r.others {
		err = r.planOf(saved)
	}
	if errs.Code(err) == int(errs.Data) {
		err = r.offer(err, dirs[1:])
	}
	if err != nil {
		return false, err
	}
	for name, from := range r.rec.Origins {
		if was := saved.Origins[name]; from == FromRecord && was != "" { // what gave it to the run when it began
			r.rec.Origins[name] = was
		}
	}
	r.rec.State, r.savedAt = saved.State, saved.State.Step
	r.rec.Plan = saved.Plan
	if r.steps < saved.State.Step {
		fmt.Fprintf(r.log, "note: done already: %s, more than the %d asked for\n", ui.Count(saved.State.Step, "step"),
			r.steps)
		r.steps = saved.State.Step
	}
	return false, nil
}

// byName are the options by their names.
func (s *setup) byName() map[string]Setting {
	out := map[string]Setting{}
	for _, x := range s.c.Settings {
		out[string(x.Option)] = x
	}
	return out
}

// candidates are the checkpoint to go on from and those before it in the same run, the newest first.
func (r *run) candidates() ([]string, error) {
	out, newest := r.c.Out, ""
	if r.c.Resume != "auto" {
		newest = filepath.Clean(r.c.Resume)
		for _, name := range []string{rundir.RecordFile, rundir.MomentsFile} { // a run's own folder has no moments
			if _, err := os.Stat(filepath.Join(newest, name)); err != nil {
				return nil, errs.Dataf("%s %s: not a checkpoint's folder, as %s/step-000100 of a run is: %w", errs.Option("resume"),
					r.c.Resume, rundir.CheckpointsDir, err)
			}
		}
		out = filepath.Dir(filepath.Dir(newest))
	}
	dirs, err := rundir.Checkpoints(out)
	if err != nil {
		return nil, err
	}
	var found []string
	if newest != "" {
		found = append(found, newest)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if newest == "" || rundir.StepOf(newest) >= 0 && rundir.StepOf(dirs[i]) < rundir.StepOf(newest) {
			found = append(found, dirs[i])
		}
	}
	return found, nil
}

// readCheckpoint reads a checkpoint's record. It is of the step that the folder is named after.
func readCheckpoint(dir string) (*Record, error) {
	rec, err := readOwn(dir)
	if err != nil {
		return nil, err
	}
	if n := rundir.StepOf(dir); n >= 0 && n != rec.State.Step {
		return nil, errs.Dataf("%s: its %s is of step %d", dir, rundir.RecordFile, rec.State.Step)
	}
	if len(rec.Files) == 0 {
		return nil, errs.Dataf("%s: not a checkpoint's record", filepath.Join(dir, rundir.RecordFile))
	}
	return rec, nil
}

// planOf refuses a saved plan that no step can be carried out by.
func (r *run) planOf(saved *Record) error {
	if err := r.work.Check(saved.Plan); err != nil {
		return errs.Dataf("%s: plan: %w", filepath.Join(r.from, rundir.RecordFile), err)
	}
	return nil
}

// offer adds to what is wrong with a checkpoint the command that goes on from the newest whole one before it.
func (r *run) offer(fault error, older []string) error {
	for _, dir := range older {
		rec, err := readCheckpoint(dir)
		if err != nil || files.Intact(dir, rec.Files) != nil {
			continue
		}
		return errs.Dataf("%w. The one before it, of step %d, is whole: %w", fault, rec.State.Step,
			errs.Advice{{Option: "resume", Value: dir}})
	}
	return errs.Dataf("%w. No whole checkpoint is left to go on from; to start again, give another %s or remove %s", fault,
		errs.Option("out"), filepath.Join(r.c.Out, rundir.CheckpointsDir))
}

// finished reports whether --out holds this very run with all steps done; its result is then the record's.
func (r *run) finished() (bool, error) {
	if _, err := os.Stat(filepath.Join(r.c.Out, rundir.RecordFile)); err != nil || r.c.Resume != "auto" {
		return false, nil
	}
	saved, err := readOwn(r.c.Out)
	if err != nil || saved.Result == nil || saved.Result.Steps < r.steps && !r.stoppedAt(saved) {
		return false, err
	}
	if err := r.rec.compare(saved, errs.Option("resume").String()+" auto: "+r.c.Out, r.byName(), r.c.Replan,
		r.log); err != nil {
		return false, err
	}
	r.rec.State = saved.State
	fault := files.Intact(r.c.Out, saved.Files)
	if fault == nil {
		r.rec.Result, r.rec.Plan = saved.Result, saved.Plan
		r.rec.Result.Out = r.c.Out
		fmt.Fprintf(r.log, "finished already: %s in %s\n", ui.Count(saved.Result.Steps, "step"), r.c.Out)
		return true, nil
	}
	dirs, err := rundir.Checkpoints(r.c.Out)
	last := len(dirs) > 0 && rundir.StepOf(dirs[len(dirs)-1]) == saved.State.Step
	switch {
	case err != nil:
		return false, err
	case !last:
		return false, errs.Dataf("the run in %s is finished, but %w, and its last checkpoint is gone too; give another %s "+
			"to train again", r.c.Out, fault, errs.Option("out"))
	case errors.Is(fault, fs.ErrNotExist):
		fmt.Fprintf(r.log, "warning: the run is finished, but %v; it is written again from %s\n", errs.Plain(fault),
			dirs[len(dirs)-1])
		return false, nil
	}
	return false, errs.Dataf("the run is finished, but %w; move that file away, and the same command writes it again "+
		"from %s", fault, dirs[len(dirs)-1])
}
