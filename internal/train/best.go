package train

import (
	"fmt"
	"math"
	"path/filepath"

	"longlora/internal/ckpt"
	"longlora/internal/dist"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// best watches the validation loss: the least of it, and how many validations have passed since. It is made anew from
// the lines of metrics, so that a run that goes on stops where one that never stopped does.
type best struct {
	loss  float64 // NaN before the first validation
	step  int     // that had it
	since int     // validations since then
}

// bestOf is what lines say.
func bestOf(lines []rundir.Metrics) best {
	b := best{loss: math.NaN()}
	for i := range lines {
		b.look(&lines[i])
	}
	return b
}

// look takes a step's validation in, and says whether it is the best so far.
func (b *best) look(m *rundir.Metrics) bool {
	if !m.Any() {
		return false
	}
	if x := m.Counts(); math.IsNaN(b.loss) || x < b.loss {
		b.loss, b.step, b.since = x, m.Step, 0
		return true
	}
	b.since++
	return false
}

// heed takes a step's line in: it keeps what was trained where that is the best so far, and decides whether the run
// stops here.
func (r *run) heed(m *rundir.Metrics) error {
	if r.best.look(m) && r.c.KeepBest && r.c.Ranks.Rank() == 0 {
		r.at("saving", "saving the best", r.stateBytes())
		if err := r.saveBest(); err != nil {
			return err
		}
	}
	return r.decide(m.Any() && m.Step < r.steps)
}

// decide has the run stop where it may and rank 0, which has the metrics, has seen enough.
func (r *run) decide(may bool) error {
	r.rec.State.Stopped = may && r.stopsAt()
	if r.c.EarlyStop == 0 || !may {
		return nil
	}
	r.c.Watch.Waits()
	return dist.FromFirst(r.c.Ranks, &r.rec.State.Stopped)
}

// stopsAt reports whether what is behind is reason enough to stop.
func (r *run) stopsAt() bool { return r.c.EarlyStop > 0 && r.best.since >= r.c.EarlyStop }

// stoppedAt reports whether a finished run stopped early where this one would.
func (r *run) stoppedAt(saved *Record) bool {
	lines, _, err := rundir.ReadMetrics(filepath.Join(r.c.Out, rundir.MetricsFile))
	return err == nil && saved.State.Stopped && r.c.EarlyStop > 0 && bestOf(lines).since >= r.c.EarlyStop
}

// saveBest writes what is trained into the folder best, which appears when it is whole.
func (r *run) saveBest() error {
	dir := filepath.Join(r.c.Out, rundir.BestDir)
	tmp, err := files.MakeTemp(dir)
	if err != nil {
		return files.Fault(dir, err)
	}
	fill := func() error {
		if err := r.writeTrained(tmp, r.engine, r.baseType); err != nil {
			return err
		}
		if r.c.Tune == "full" {
			if err := ckpt.CarryOver(tmp, r.base.Dir); err != nil {
				return err
			}
		}
		own := *r.rec // its positions are read beside the adapter
		if own.Files, err = files.Folder(tmp); err != nil {
			return err
		}
		return rundir.Write(tmp, &own)
	}
	if err := fill(); err != nil {
		_ = files.Drop(tmp) // what stays is swept by the next run
		return err
	}
	return files.Place(dir, tmp)
}

// sayBest says at the end which step was the best.
func (r *run) sayBest() {
	if r.c.KeepBest && r.best.step > 0 {
		fmt.Fprintf(r.log, "best        step %d, validation loss %.4f: %s\n", r.best.step, r.best.loss,
			filepath.Join(r.c.Out, rundir.BestDir))
	}
}
