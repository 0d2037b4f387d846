package report

import (
	"fmt"
	"math"
	"strings"

	"longlora/internal/files"
	"longlora/internal/ui"
)

// facts are what was trained, on what.
func (t *training) facts() Table {
	tab := Table{Title: "What was trained, on what"}
	add := func(what, is string) {
		if is != "" {
			tab.Rows = append(tab.Rows, []string{what, is})
		}
	}
	add("model", t.option("model"))
	add("context", t.option("ctx"))
	if r := t.record; r != nil {
		add("attention", t.attention())
		add("positions", fmt.Sprintf("%v, up to %s tokens", r.Positions.Rope["rope_type"],
			thousands(int64(r.Positions.MaxPos))))
		add("parameters trained", thousands(r.Plan.Trainable))
		add("data", listed(r.Data))
		add("validation data", listed(r.EvalData))
	}
	if done := len(t.steps); done > 0 {
		var tokens int64
		var seconds float64
		for _, m := range t.steps {
			tokens, seconds = tokens+m.Tokens, seconds+m.StepS
		}
		of := ""
		if t.record != nil {
			of = " of " + thousands(int64(t.record.Steps))
		}
		add("steps", thousands(int64(t.steps[done-1].Step))+of)
		add("tokens", thousands(tokens))
		add("time in steps", ui.Duration(seconds))
	}
	if r := t.record; r != nil {
		add("device and type", r.Device+", "+typeName(r.DType))
		add("seed", fmt.Sprint(r.Seed))
		add("program", "longlora "+r.Version+", "+r.Go)
	}
	return tab
}

// typeName is a recorded type as options spell it.
func typeName(recorded string) string {
	if name, ok := map[string]string{"F32": "fp32", "BF16": "bf16"}[recorded]; ok {
		return name
	}
	return recorded
}

// listed names files with their sizes, the first few of many.
func listed(list []files.Fingerprint) string {
	const some = 6
	var parts []string
	var size int64
	for i, f := range list {
		if size += f.Size; i < some {
			parts = append(parts, fmt.Sprintf("%s (%s)", f.Name, ui.Bytes(f.Size)))
		}
	}
	if n := len(list) - some; n > 0 {
		parts = append(parts, fmt.Sprintf("and %d more, %s in all", n, ui.Bytes(size)))
	}
	return strings.Join(parts, ", ")
}

// planned is where the memory goes.
func (t *training) planned() Table {
	tab := Table{Title: "Memory as planned"}
	if t.record == nil {
		return tab
	}
	p := t.record.Plan.Room()
	weights := "frozen weights"
	if p.Device == 0 { // of a run on the CPU
		weights += ", mapped from their files and not in the sum"
	}
	for _, row := range []struct {
		what string
		n    int64
	}{{"trained values, gradients, moments", p.Params}, {"activations", p.Act}, {"keys and values between tiles", p.Halo},
		{"activations in host memory", p.MovedBytes}, {"workspace", p.Workspace}, {"driver and libraries", p.Context},
		{weights, p.Weights + p.Slots}, {"frozen weights in host memory", p.Streamed},
		{"trained matrices' state in host memory", p.State}, {"token ids", p.IDs}, {"the process itself", p.Base},
		{"host, in all", p.Host}, {"device, in all", p.Device}} {
		if row.n > 0 {
			tab.Rows = append(tab.Rows, []string{row.what, ui.Bytes(row.n)})
		}
	}
	if p.Tile > 0 {
		tab.Rows = append(tab.Rows, []string{"tile", thousands(int64(p.Tile)) + " tokens"})
	}
	if last := t.record.Plan.Last; last != nil && last.Tile > 0 {
		tab.Rows = append(tab.Rows, []string{"tile under full attention", thousands(int64(last.Tile)) + " tokens"})
	}
	return tab
}

// words says what a run's numbers mean.
func (t *training) words() (out []string) {
	n := len(t.steps)
	if n == 0 {
		return nil
	}
	out = append(out, t.sayBorder()...)
	vs := t.validations()
	for _, v := range vs {
		out = append(out, sayValidation(v))
	}
	if len(vs) == 2 && vs[0].X[len(vs[0].X)-1] == vs[1].X[len(vs[1].X)-1] {
		s, f := vs[0].Y[len(vs[0].Y)-1], vs[1].Y[len(vs[1].Y)-1]
		out = append(out, fmt.Sprintf("On the same rows at the last validation, S² attention and full attention differ by "+
			"%.4f in loss.", math.Abs(s-f)))
	}
	if clip := t.number("max-grad-norm"); clip > 0 {
		clipped := 0
		for _, m := range t.steps {
			if m.GradNorm > clip {
				clipped++
			}
		}
		out = append(out, fmt.Sprintf("The gradient was clipped in %s of %s (above %g).", thousands(int64(clipped)),
			ui.Several(thousands(int64(n)), "step"), clip))
	}
	return append(out, t.sayMemory()...)
}

// sayMemory compares the peaks with the plan.
func (t *training) sayMemory() (out []string) {
	if t.record == nil {
		return nil
	}
	var device, host int64
	for _, m := range t.steps {
		device, host = max(device, m.DevicePeak), max(host, m.HostPeak)
	}
	room := t.record.Plan.Room()
	for _, x := range []struct {
		what          string
		used, planned int64
	}{{"device", device, room.Device}, {"host", host, room.Host}} {
		if x.used > 0 && x.planned > 0 {
			more := ""
			if over := x.used - x.planned; over > 0 {
				more = ui.Bytes(over) + " more than the "
			}
			out = append(out, fmt.Sprintf("At most %s of %s memory was used, %s%s planned.", ui.Bytes(x.used), x.what,
				more, ui.Bytes(x.planned)))
		}
	}
	return out
}

func sayValidation(v series) string {
	n := len(v.Y)
	name := strings.ToUpper(v.Name[:1]) + v.Name[1:]
	if n == 1 {
		return fmt.Sprintf("%s: %.4f at step %s.", name, v.Y[0], number(v.X[0]))
	}
	best := 0
	for i, y := range v.Y {
		if y < v.Y[best] {
			best = i
		}
	}
	s := fmt.Sprintf("%s %s %.4f (step %s) to %.4f (step %s)", name, moved(v.Y[0], v.Y[n-1]), v.Y[0], number(v.X[0]),
		v.Y[n-1], number(v.X[n-1]))
	if best != n-1 && best != 0 {
		s += fmt.Sprintf("; the lowest was %.4f at step %s", v.Y[best], number(v.X[best]))
	}
	return s + "."
}

// moved says which way a value went, as far as the four digits shown tell.
func moved(a, b float64) string {
	switch d := math.Round(1e4*b) - math.Round(1e4*a); {
	case d < 0:
		return "fell from"
	case d > 0:
		return "rose from"
	}
	return "stayed:"
}
