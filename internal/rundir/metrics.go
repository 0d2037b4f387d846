package rundir

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Metrics is one line of metrics.jsonl.
type Metrics struct {
	Step       int     `json:"step"`
	Attn       string  `json:"attn,omitempty"` // how the step attended: s2 or full
	Loss       float64 `json:"loss"`
	GradNorm   float64 `json:"grad_norm"`
	LR         float64 `json:"lr"`
	LREmbed    float64 `json:"lr_embed"` // of embedding, norms and head
	Tokens     int64   `json:"tokens"`
	TokPerS    float64 `json:"tok_per_s"`
	StepS      float64 `json:"step_s"`
	DevicePeak int64   `json:"device_peak_bytes"`
	HostPeak   int64   `json:"host_peak_bytes"`
	Validation
}

// Validation is the mean loss of held-out rows, nil where it was not asked for.
type Validation struct {
	// under the only attention that is asked for, the step's own by default
	EvalLoss   *float64 `json:"eval_loss,omitempty"`
	EvalSparse *float64 `json:"eval_loss_s2,omitempty"`
	EvalFull   *float64 `json:"eval_loss_full,omitempty"`
}

// Any reports whether there is any.
func (v Validation) Any() bool { return v.EvalLoss != nil || v.EvalSparse != nil || v.EvalFull != nil }

// Counts is the loss that a model is judged by: under full attention where it was asked for, NaN without any.
func (v Validation) Counts() float64 {
	for _, x := range []*float64{v.EvalFull, v.EvalLoss, v.EvalSparse} {
		if x != nil {
			return *x
		}
	}
	return math.NaN()
}

// Words are the losses with their names, "" without any.
func (v Validation) Words() string {
	var out []string
	for _, x := range []struct {
		name string
		loss *float64
	}{{"", v.EvalLoss}, {" under s2", v.EvalSparse}, {" under full attention", v.EvalFull}} {
		if x.loss != nil {
			out = append(out, fmt.Sprintf("%.4f%s", *x.loss, x.name))
		}
	}
	return strings.Join(out, ", ")
}

// MetricsLog appends lines to a metrics.jsonl.
type MetricsLog struct{ f *os.File }

// OpenMetrics cuts a metrics.jsonl back to the lines of steps up to step, a torn last line dropped, and opens it for
// appending.
func OpenMetrics(path string, step int) (*MetricsLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, files.Fault(path, err)
	}
	keep, r := int64(0), bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		var m struct {
			Step int `json:"step"`
		}
		if err != nil || json.Unmarshal(bytes.TrimSpace(line), &m) != nil || m.Step > step || m.Step < 1 {
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, errs.Dataf("%s: %w", path, err)
			}
			break
		}
		keep += int64(len(line))
	}
	if err := f.Truncate(keep); err == nil {
		_, err = f.Seek(keep, io.SeekStart)
		if err == nil {
			return &MetricsLog{f}, nil
		}
	}
	f.Close()
	return nil, errs.Dataf("%s: cannot be cut back to step %d", path, step)
}

// Write appends one object in one call, so that a kill tears at most one line.
func (m *MetricsLog) Write(v *Metrics) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if _, err := m.f.Write(append(b, '\n')); err != nil {
		return files.Fault(m.f.Name(), err)
	}
	return nil
}

// Check refuses a file that does not stand under its name any more.
func (m *MetricsLog) Check() error {
	mine, err := m.f.Stat()
	if err != nil {
		return files.Fault(m.f.Name(), err)
	}
	if now, err := os.Stat(m.f.Name()); err != nil || !os.SameFile(mine, now) {
		return errs.Dataf("%s: the file was removed or replaced while it was written", m.f.Name())
	}
	return nil
}

// Close closes the file.
func (m *MetricsLog) Close() error { return m.f.Close() }

// maxMetrics are the bytes of some four million steps.
const maxMetrics = 1 << 30

// ReadMetrics reads a metrics.jsonl. What is no step's line, as a kill or a full disk leaves it, is counted and left
// out.
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
