package report

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/ui"
)

// state judges a training run: how far it is, and what became of the loss.
func (t *training) state() Verdict {
	n := len(t.steps)
	if n == 0 {
		return Verdict{Kind: "open", Head: "No step is done yet"}
	}
	done := ui.Several(thousands(int64(t.steps[n-1].Step)), "step")
	v := Verdict{Kind: "plain", Head: done}
	if r := t.record; r != nil {
		of := thousands(int64(t.steps[n-1].Step)) + " of " + ui.Several(thousands(int64(r.Steps)), "step")
		switch {
		case r.Result != nil || t.steps[n-1].Step >= r.Steps:
			v = Verdict{Kind: "good", Head: "Finished: " + done}
		case t.running:
			v = Verdict{Kind: "open", Head: "Running: " + of}
		case r.Failed != "":
			return Verdict{Kind: "bad", Head: "Failed after " + of, Text: strings.ToUpper(r.Failed[:1]) + r.Failed[1:] + "."}
		default:
			v = Verdict{Kind: "part", Head: "Not finished: " + of + "; the same command goes on"}
		}
	}
	if n > 1 {
		k := max(1, n/10)
		a, b := t.meanLoss(0, k), t.meanLoss(n-k, n)
		v.Text = fmt.Sprintf("The training loss %s %.4f to %.4f (means of the first and the last %s).", moved(a, b), a, b,
			counted(k))
		if v.Kind == "good" && b > a {
			v.Kind = "part"
		}
	}
	return v
}

// counted is a number of steps in words.
func counted(k int) string {
	if k == 1 {
		return "step"
	}
	return thousands(int64(k)) + " steps"
}

// meanLoss is the mean over steps [from, to).
func (t *training) meanLoss(from, to int) (sum float64) {
	for _, m := range t.steps[from:to] {
		sum += m.Loss / float64(to-from)
	}
	return sum
}

// bigs are a run's large figures: loss, validation, speed, and steps and time.
func (t *training) bigs() (out []Big) {
	n := len(t.steps)
	if n == 0 {
		return nil
	}
	k := max(1, n/10)
	four := func(v float64) string { return fmt.Sprintf("%.4f", v) }
	loss := Big{Label: "Training loss, last " + counted(k), Value: four(t.meanLoss(n-k, n))}
	if n > 1 {
		loss.Also = []Also{{Name: "first " + counted(k), Value: four(t.meanLoss(0, k))}}
	}
	out = append(out, loss)
	for _, s := range t.validations() {
		last := len(s.Y) - 1
		out = append(out, Big{Label: strings.ToUpper(s.Name[:1]) + s.Name[1:], Value: four(s.Y[last]),
			Also: []Also{{Name: "lowest", Value: four(slices.Min(s.Y))}, {Name: "at step", Value: number(s.X[last])}}})
	}
	var speeds, each []float64
	seconds, tokens := 0.0, int64(0)
	for _, m := range t.steps {
		speeds, each, seconds, tokens = append(speeds, m.TokPerS), append(each, m.StepS), seconds+m.StepS, tokens+m.Tokens
	}
	out = append(out, Big{Label: "Tokens a second", Value: number(float64(int64(middle(speeds) + 0.5))),
		Also: []Also{{Name: "a step", Value: ui.Duration(middle(each))}}})
	time := Big{Label: "Steps", Value: thousands(int64(t.steps[n-1].Step)), Also: []Also{{Name: "time in them",
		Value: ui.Duration(seconds)}, {Name: "tokens", Value: thousands(tokens)}}}
	if r := t.record; r != nil && r.Steps > t.steps[n-1].Step {
		time.Value += " of " + thousands(int64(r.Steps))
		if r.Failed != "" && !t.running {
			return append(out, time)
		}
		time.Also[1] = Also{Name: "left", Value: ui.Duration(middle(each) * float64(r.Steps-t.steps[n-1].Step))}
	}
	return append(out, time)
}

// middle is the median.
func middle(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	return v[len(v)/2]
}

// trainedOn says on what a run trains.
func (t *training) trainedOn() (out []string) {
	r := t.record
	if r == nil {
		return nil
	}
	if len(r.Data) > 0 {
		out = append(out, "Trained on "+listed(r.Data)+".")
	}
	return append(out, fmt.Sprintf("Seed %d; last step on %s.", r.Seed, t.changed))
}
