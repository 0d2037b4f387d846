package train

import (
	"math"
	"os"
	"path/filepath"
	"time"

	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/ui"
)

// scalars are the values under TensorBoard's tags.
func scalars(m *rundir.Metrics) []ui.Scalar {
	v := []ui.Scalar{
		{Tag: "train/loss", Value: m.Loss}, {Tag: "train/grad_norm", Value: m.GradNorm}, {Tag: "train/lr", Value: m.LR},
		{Tag: "speed/tok_per_s", Value: m.TokPerS}, {Tag: "memory/host_GiB", Value: gib(m.HostPeak)},
	}
	if m.DevicePeak > 0 {
		v = append(v, ui.Scalar{Tag: "memory/device_GiB", Value: gib(m.DevicePeak)})
	}
	for _, e := range []struct {
		name string
		loss *float64
	}{{"", m.EvalLoss}, {"_s2", m.EvalSparse}, {"_full", m.EvalFull}} {
		if e.loss != nil {
			v = append(v, ui.Scalar{Tag: "validation/loss" + e.name, Value: *e.loss}, ui.Scalar{Tag: "validation/perplexity" +
				e.name, Value: math.Exp(*e.loss)})
		}
	}
	return v
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// curves keeps a run's metrics.jsonl and the same for TensorBoard.
type curves struct {
	lines  *rundir.MetricsLog
	events *ui.Events
	had    int // lines that were there
}

// openCurves opens --out's metrics with the lines of steps up to step and no others. from is the checkpoint that the
// run goes on from; when it lies in another run's folder, that run's lines are taken over. The event file is written
// anew from those lines, options first.
func openCurves(out, from string, step int, options map[string]string) (*curves, error) {
	path := filepath.Join(out, rundir.MetricsFile)
	other := filepath.Join(from, "..", "..")
	if theirs := filepath.Join(other, rundir.MetricsFile); from != "" && !files.SameDir(other, out) {
		if _, err := os.Stat(theirs); err == nil {
			if err := files.CopyFile(path, theirs); err != nil {
				return nil, err
			}
		}
	}
	var c curves
	var err error
	if c.lines, err = rundir.OpenMetrics(path, step); err != nil {
		return nil, err
	}
	before, _, err := rundir.ReadMetrics(path)
	c.had = len(before)
	if err == nil {
		c.events, err = ui.OpenEvents(filepath.Join(out, rundir.EventsDir))
	}
	at := time.Now()
	for _, m := range before {
		at = at.Add(-seconds(m.StepS))
	}
	if err == nil {
		err = c.events.Parameters(at, options)
	}
	for i := 0; i < len(before) && err == nil; i++ {
		at = at.Add(seconds(before[i].StepS))
		err = c.events.Write(at, before[i].Step, scalars(&before[i]))
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &c, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Write adds a step.
func (c *curves) Write(m *rundir.Metrics) error {
	if err := c.lines.Write(m); err != nil {
		return err
	}
	return c.events.Write(time.Now(), m.Step, scalars(m))
}

// Done writes for TensorBoard that the run ended well.
func (c *curves) Done() error { return c.events.Done(time.Now()) }

// Close closes what is open.
func (c *curves) Close() error {
	if c.events != nil {
		_ = c.events.Close() // it can be made again from the lines
	}
	return c.lines.Close()
}
