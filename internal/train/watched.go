package train

import "fmt"

// slowDisk is what even a slow disk or network gives or takes, in bytes a second.
const slowDisk = 200e6

// at tells the watch what the run has come to, of a kind by which it takes time: a step's, and that of so many bytes
// which are read or written.
func (r *run) at(kind, what string, bytes int64) {
	if r.machine.OnHost { // weights are mapped, and all of them may have to be read once more
		bytes += r.modelBytes()
	}
	r.c.Watch.At(kind, what, r.stepSeconds+float64(bytes)/slowDisk)
}

// predict learns how long a step of the plan may take.
func (r *run) predict() error {
	rates, err := r.machine.Predicting()
	if err != nil {
		return err
	}
	r.stepSeconds = r.plan.Seconds(rates, r.micros())
	if last := r.plan.Last; last != nil {
		r.stepSeconds = max(r.stepSeconds, last.Seconds(rates, r.micros()))
	}
	return nil
}

// modelBytes is the size of the model's files.
func (r *run) modelBytes() (n int64) {
	for _, f := range r.rec.Model.Files {
		n += f.Size
	}
	return n
}

// stateBytes is the size of what is trained, with its moments, in float32.
func (r *run) stateBytes() int64 { return 12 * r.plan.Trainable }

// mends tells the watch what can be done about a run that stands still.
func (r *run) mends() {
	if r.c.Ranks.Rank() > 0 {
		r.c.Watch.Mend("The same command goes on from what rank 0 saved last in " + r.c.Out)
		return
	}
	if r.savedAt < 0 {
		r.c.Watch.Mend(fmt.Sprintf("No step is saved yet; the same command begins %s again", r.c.Out))
		return
	}
	r.c.Watch.Mend(fmt.Sprintf("The same command goes on from step %d, which is saved in %s", r.rec.State.Step, r.c.Out))
}
