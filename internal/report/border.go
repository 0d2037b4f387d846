package report

import (
	"fmt"
	"slices"

	"longlora/internal/rundir"
)

// border is the first of a run's last steps, where they attend fully and those before do not; 0 where all attend alike.
func (t *training) border() int {
	for i := 1; i < len(t.steps); i++ {
		if t.steps[i].Attn == "full" && t.steps[i-1].Attn == "s2" {
			return t.steps[i].Step
		}
	}
	if r := t.record; r != nil && r.FullSteps > 0 && r.FullSteps < r.Steps {
		return r.Steps - r.FullSteps + 1
	}
	return 0
}

// bordered adds to curves over steps a line where full attention begins, as high as they are.
func (t *training) bordered(curves []series) []series {
	at, n := t.border(), len(t.steps)
	if at == 0 || n == 0 || t.steps[n-1].Step < at {
		return curves
	}
	var ys []float64
	for _, c := range curves {
		ys = append(ys, c.Y...)
	}
	if len(ys) == 0 {
		return curves
	}
	line := series{Name: fmt.Sprintf("full attention from step %s on", thousands(int64(at))), Dashed: true}
	line.add(float64(at)-0.5, slices.Min(ys))
	line.add(float64(at)-0.5, slices.Max(ys))
	return append(curves, line)
}

// ownValidations are the lone losses of validation where each is under its step's attention, which is not always the
// same.
func (t *training) ownValidations() (out []series) {
	for _, w := range []struct{ attn, name string }{{"s2", "validation loss under S² attention"},
		{"full", "validation loss under full attention"}} {
		s := t.curve(w.name, func(m *rundir.Metrics) (float64, bool) {
			if m.EvalLoss == nil || m.Attn != w.attn {
				return 0, false
			}
			return *m.EvalLoss, true
		})
		if len(s.X) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// attention says in words how the steps attend.
func (t *training) attention() string {
	r := t.record
	s2 := "s2, groups of " + r.Options["group-size"] + " tokens, shift " + r.Options["shift"]
	switch at := t.border(); {
	case at > 0:
		return fmt.Sprintf("%s, in steps 1 to %s; full in steps %s to %s", s2, thousands(int64(at-1)), thousands(int64(at)),
			thousands(int64(r.Steps)))
	case r.Options["attn"] == "full" || r.FullSteps > 0: // groups and their shift have no effect there
		return "full"
	}
	return s2
}

// sayBorder says what the losses before and after the border have to do with each other.
func (t *training) sayBorder() []string {
	at, n := t.border(), len(t.steps)
	if at == 0 || n == 0 || t.steps[n-1].Step < at {
		return nil
	}
	s := fmt.Sprintf("From step %s on attention is full, before it is S²", thousands(int64(at)))
	before, after := 0.0, 0.0
	for _, m := range t.steps {
		if m.Step == at-1 {
			before = m.Loss
		}
		if m.Step == at {
			after = m.Loss
		}
	}
	if before > 0 && after > 0 {
		s += fmt.Sprintf("; the loss of step %s is %.4f, that of the step before %.4f", thousands(int64(at)), after, before)
	}
	return []string{s + ". Losses on the two sides do not compare: tokens see more after it."}
}
