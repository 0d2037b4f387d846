package report

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// training is what a run's folder tells.
type training struct {
	steps   []rundir.Metrics
	damaged int
	record  *train.Record // nil without run.json
	config  string        // longlora.yaml as it is written
	options map[string]any
	running bool   // something is at work in the folder
	changed string // when the last step was done
}

// maxConfig is in bytes; a run's own options have some two thousand.
const maxConfig = 1 << 20

// readTraining reads a run's folder.
func readTraining(dir string) (*training, error) {
	var t training
	var err error
	path := filepath.Join(dir, rundir.MetricsFile)
	if t.steps, t.damaged, err = rundir.ReadMetrics(path); err != nil {
		return nil, err
	}
	if len(t.steps) == 0 && t.damaged > 0 {
		return nil, errs.Dataf("%s: no step of a run in its %s", path, ui.Count(t.damaged, "line"))
	}
	// A line a step: where a damaged file has one twice, the later one counts.
	last := map[int]int{}
	for i, m := range t.steps {
		last[m.Step] = i
	}
	var kept []rundir.Metrics
	for i, m := range t.steps {
		if last[m.Step] == i {
			kept = append(kept, m)
		}
	}
	slices.SortFunc(kept, func(a, b rundir.Metrics) int { return a.Step - b.Step })
	t.steps = kept
	t.running = files.Held(dir)
	t.changed = day(lastWritten(path))
	if files.Exists(filepath.Join(dir, rundir.RecordFile)) {
		if t.record, err = train.ReadRecord(dir); err != nil {
			return nil, err
		}
	}
	b, err := files.Read(filepath.Join(dir, rundir.ConfigFile), maxConfig)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		t.config = string(b)
		if yaml.Unmarshal(b, &t.options) != nil {
			t.options = nil // shown as it is written
		}
	}
	return &t, nil
}

// curve takes one value of each step that has it.
func (t *training) curve(name string, of func(*rundir.Metrics) (float64, bool)) series {
	s := series{Name: name}
	for i := range t.steps {
		if v, ok := of(&t.steps[i]); ok {
			s.add(float64(t.steps[i].Step), v)
		}
	}
	return s
}

// validations are the losses of held-out rows that the run measured.
func (t *training) validations() (out []series) {
	if t.border() > 0 && t.record != nil && t.record.Options["eval-attn"] == "" {
		return t.ownValidations()
	}
	for _, v := range []struct {
		name string
		of   func(*rundir.Metrics) *float64
	}{{"validation loss", func(m *rundir.Metrics) *float64 { return m.EvalLoss }},
		{"validation loss under S² attention", func(m *rundir.Metrics) *float64 { return m.EvalSparse }},
		{"validation loss under full attention", func(m *rundir.Metrics) *float64 { return m.EvalFull }}} {
		s := t.curve(v.name, func(m *rundir.Metrics) (float64, bool) {
			if p := v.of(m); p != nil {
				return *p, true
			}
			return 0, false
		})
		if len(s.X) > 0 {
			out = append(out, s)
		}
	}
	return out
}

func (t *training) loss() series {
	return t.curve("training", func(m *rundir.Metrics) (float64, bool) { return m.Loss, true })
}

// section draws a run.
func (t *training) section() Section {
	s := Section{Title: "Training"}
	always := func(of func(*rundir.Metrics) float64) func(*rundir.Metrics) (float64, bool) {
		return func(m *rundir.Metrics) (float64, bool) { return of(m), true }
	}
	s.Tables, s.Config = []Table{t.facts(), t.planned()}, t.config
	if len(t.steps) < 2 {
		return s // of one step the figures are all there is
	}
	x := t.stepAxis()
	loss := []series{binned(t.loss())}
	for _, v := range t.validations() {
		loss = append(loss, binned(v))
	}
	norm := []series{binned(t.curve("gradient norm", always(func(m *rundir.Metrics) float64 { return m.GradNorm })))}
	if clip := t.number("max-grad-norm"); clip > 0 {
		norm = append(norm, t.level("clipped above", clip))
	}
	rate := t.curve("learning rate", always(func(m *rundir.Metrics) float64 { return m.LR }))
	speed := binned(t.curve("tokens a second", always(func(m *rundir.Metrics) float64 { return m.TokPerS })))
	for _, c := range []struct {
		title, label string
		zero         bool
		curves       []series
	}{{"Loss", "mean loss a token", false, loss}, {"Gradient norm, before clipping", "L2 norm", true, norm},
		{"Throughput", "tokens a second", true, []series{speed}}} {
		a := x
		a.Y, a.Zero, a.Wide = c.label, c.zero, c.title == "Loss"
		a.LogY = c.title == "Gradient norm, before clipping" && spread(c.curves...)
		s.chart(c.title, a, t.bordered(c.curves)...)
	}
	t.memory(&s)
	x.Y, x.Zero, x.Low = "rate", true, true
	s.chart("Learning rate", x, t.bordered([]series{binned(rate)})...)
	return s
}

// stepAxis is an axis of steps: of a few, each has its tick, since there is none between two.
func (t *training) stepAxis() axes {
	x := axes{X: "step"}
	const few = 6
	for _, m := range t.steps[:min(len(t.steps), few+1)] {
		x.XAt = append(x.XAt, float64(m.Step))
	}
	if len(x.XAt) > few {
		x.XAt = nil
	}
	return x
}

// level is a horizontal line.
func (t *training) level(name string, v float64) series {
	s := series{Name: name, Dashed: true}
	s.add(float64(t.steps[0].Step), v)
	if n := len(t.steps); n > 1 {
		s.add(float64(t.steps[n-1].Step), v)
	}
	return s
}

// number is an option's value, 0 where it is not known.
func (t *training) number(option string) float64 {
	if t.record == nil {
		return 0
	}
	v, err := strconv.ParseFloat(t.record.Options[option], 64)
	if err != nil {
		return 0
	}
	return v
}

// unitOf is the unit that an axis up to so many bytes counts in.
func unitOf(most int64) (unit float64, label string) {
	if most >= 1<<30 {
		return 1 << 30, "GiB"
	}
	return 1 << 20, "MiB"
}

// peak is the greatest of a figure over all steps.
func (t *training) peak(of func(*rundir.Metrics) int64) (most int64) {
	for i := range t.steps {
		most = max(most, of(&t.steps[i]))
	}
	return most
}

// memory draws what was used against what was planned.
func (t *training) memory(s *Section) {
	for _, kind := range []struct {
		name    string
		of      func(*rundir.Metrics) int64
		planned func(*train.Record) int64
	}{{"Device memory", func(m *rundir.Metrics) int64 { return m.DevicePeak },
		func(r *train.Record) int64 { return r.Plan.Room().Device }},
		{"Host memory", func(m *rundir.Metrics) int64 { return m.HostPeak },
			func(r *train.Record) int64 { return r.Plan.Room().Host }}} {
		unit, label := unitOf(t.peak(kind.of))
		used := t.curve("peak so far", func(m *rundir.Metrics) (float64, bool) {
			return float64(kind.of(m)) / unit, kind.of(m) > 0
		})
		if len(used.X) == 0 {
			continue
		}
		curves := []series{binned(used)}
		if t.record != nil && kind.planned(t.record) > 0 {
			curves = append(curves, t.level("planned", float64(kind.planned(t.record))/unit))
		}
		x := t.stepAxis()
		x.Y, x.Zero = label, true
		s.chart(kind.name, x, curves...)
	}
}

// option is what longlora.yaml says of an option, "" where that is nothing.
func (t *training) option(name string) string {
	switch v := t.options[name].(type) {
	case nil:
		return ""
	case []any:
		var parts []string
		for _, p := range v {
			parts = append(parts, fmt.Sprint(p))
		}
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}
