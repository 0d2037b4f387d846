package train

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"time"

	"longlora/internal/files"
	"longlora/internal/ui"
)

// Metrics is one line of metrics.jsonl.
type Metrics struct {
	Step       int      `json:"step"`
	Loss       float64  `json:"loss"`
	GradNorm   float64  `json:"grad_norm"`
	LR         float64  `json:"lr"`
	Tokens     int64    `json:"tokens"`
	TokPerS    float64  `json:"tok_per_s"`
	StepS      float64  `json:"step_s"`
	DevicePeak int64    `json:"device_peak_bytes"`
	HostPeak   int64    `json:"host_peak_bytes"`
	EvalLoss   *float64 `json:"eval_loss,omitempty"`
	EvalSparse *float64 `json:"eval_loss_s2,omitempty"`
	EvalFull   *float64 `json:"eval_loss_full,omitempty"`
}

const (
	metricsName = "metrics.jsonl"
	eventsName  = "tensorboard"
	maxMetrics  = 1 << 30 // bytes, of some four million steps
)

// scalars are the values under TensorBoard's tags.
func (m *Metrics) scalars() []ui.Scalar {
	v := []ui.Scalar{
		{Tag: "train/loss", Value: m.Loss}, {Tag: "train/grad_norm", Value: m.GradNorm}, {Tag: "train/lr", Value: m.LR},
		{Tag: "speed/tok_per_s", Value: m.TokPerS}, {Tag: "memory/host_bytes", Value: float64(m.HostPeak)},
	}
	if m.DevicePeak > 0 {
		v = append(v, ui.Scalar{Tag: "memory/device_bytes", Value: float64(m.DevicePeak)})
	}
	for _, e := range []struct {
		name string
		loss *float64
	}{{"", m.EvalLoss}, {"_s2", m.EvalSparse}, {"_full", m.EvalFull}} {
		if e.loss != nil {
			v = append(v, ui.Scalar{Tag: "validation/loss" + e.name, Value: *e.loss}, ui.Scalar{Tag: "validation/perplexity" + e.name, Value: math.Exp(*e.loss)})
		}
	}
	return v
}

// curves keeps a run's metrics.jsonl and the same for TensorBoard.
type curves struct {
	lines  *ui.Metrics
	events *ui.Events
	had    int // lines that were there
}

// openCurves opens --out's metrics with the lines of steps up to step and no others. from is the checkpoint that the
// run goes on from; when it lies in another run's folder, that run's lines are taken over. The event file is written
// anew from those lines.
func openCurves(out, from string, step int) (*curves, error) {
	path := filepath.Join(out, metricsName)
	other := filepath.Join(from, "..", "..")
	if theirs := filepath.Join(other, metricsName); from != "" && !files.SameDir(other, out) {
		if _, err := os.Stat(theirs); err == nil {
			if err := files.CopyFile(path, theirs); err != nil {
				return nil, err
			}
		}
	}
	var c curves
	var err error
	if c.lines, err = ui.OpenMetrics(path, step); err != nil {
		return nil, err
	}
	before, _, err := ReadMetrics(path)
	c.had = len(before)
	if err == nil {
		c.events, err = ui.OpenEvents(filepath.Join(out, eventsName))
	}
	at := time.Now()
	for _, m := range before {
		at = at.Add(-seconds(m.StepS))
	}
	for i := 0; i < len(before) && err == nil; i++ {
		at = at.Add(seconds(before[i].StepS))
		err = c.events.Write(at, before[i].Step, before[i].scalars())
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &c, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Write adds a step.
func (c *curves) Write(m *Metrics) error {
	if err := c.lines.Write(m); err != nil {
		return err
	}
	return c.events.Write(time.Now(), m.Step, m.scalars())
}

// Close closes what is open.
func (c *curves) Close() error {
	if c.events != nil {
		_ = c.events.Close() // it can be made again from the lines
	}
	return c.lines.Close()
}

// ReadMetrics reads a metrics.jsonl. Lines that are none, as a kill or a full disk leaves them, are counted and left out.
func ReadMetrics(path string) (ms []Metrics, damaged int, err error) {
	b, err := files.Read(path, maxMetrics)
	if err != nil {
		return nil, 0, err
	}
	for line := range bytes.Lines(b) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var m Metrics
		if json.Unmarshal(line, &m) != nil || m.Step < 1 {
			damaged++
			continue
		}
		ms = append(ms, m)
	}
	return ms, damaged, nil
}
