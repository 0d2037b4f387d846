package report

import (
	"fmt"
	"maps"
	"slices"

	"longlora/internal/rundir"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// big is a run's large figure: its last validation loss, or its loss.
func (r *run) big() Big {
	k := max(1, len(r.steps)/10)
	loss := r.meanLoss(len(r.steps)-k, len(r.steps))
	b := Big{Label: r.name, Mark: Key{r.style, key(series{Style: r.style}, true), ""}}
	for _, name := range validationNames {
		if s := r.validation(name); len(s.Y) > 0 {
			b.Value, b.Name = fmt.Sprintf("%.4f", s.Y[len(s.Y)-1]), name
			break
		}
	}
	trained := fmt.Sprintf("%.4f", loss)
	if b.Value == "" {
		b.Value, b.Name = trained, "training loss"
	} else {
		b.Also = append(b.Also, Also{Name: "training loss, last " + counted(k), Value: trained})
	}
	return Big{b.Label, b.Value, b.Name, append(b.Also, Also{Name: "tokens", Value: thousands(r.tokens())},
		Also{Name: "time in steps", Value: ui.Duration(r.seconds())}), b.Mark}
}

func (r *run) seconds() (s float64) {
	for _, m := range r.steps {
		s += m.StepS
	}
	return s
}

// differing is a table of the options in which runs differ.
func differing(runs []*run) Table {
	t := Table{Title: "Options that differ", Head: headed("option", runs), Text: true}
	names := map[string]bool{}
	for _, r := range runs {
		for name := range r.known() {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		row, same := []string{name}, true
		for _, r := range runs {
			is := r.known()[name]
			if is == "" {
				is = "–"
			}
			row = append(row, is)
			same = same && is == row[1]
		}
		if !same {
			t.Rows = append(t.Rows, row)
		}
	}
	if len(t.Rows) == 0 {
		t.Head, t.Text = nil, false
		t.Rows = [][]string{{"none", "the runs have the same options"}}
	}
	return t
}

// known are a run's options as its run.json has them, and those that only its longlora.yaml has; where it lies and what
// the machine gave it are no part of them.
func (r *run) known() map[string]string {
	out := map[string]string{}
	if r.record != nil {
		maps.Copy(out, r.record.Options)
	}
	for name := range r.options {
		if _, ok := out[name]; !ok {
			out[name] = r.option(name)
		}
	}
	for _, name := range []string{"out", "threads", "json", "resume", "device-mem", "host-mem"} {
		delete(out, name)
	}
	return out
}

func headed(first string, runs []*run) []string {
	head := []string{first}
	for _, r := range runs {
		head = append(head, r.name)
	}
	return head
}

// became is a table of what came of the runs.
func became(runs []*run) Table {
	t := Table{Title: "What came of them", Head: headed("", runs), Text: true}
	add := func(what string, of func(*run) string) {
		row, any := []string{what}, false
		for _, r := range runs {
			is := of(r)
			any = any || is != ""
			if is == "" {
				is = "–"
			}
			row = append(row, is)
		}
		if any {
			t.Rows = append(t.Rows, row)
		}
	}
	add("state", func(r *run) string { return r.state().Head })
	add("training loss, mean of the last tenth", func(r *run) string {
		n := len(r.steps)
		return fmt.Sprintf("%.4f", r.meanLoss(n-max(1, n/10), n))
	})
	for _, name := range validationNames {
		add(name+", the last", func(r *run) string { return lossAt(r.validation(name), false) })
		add(name+", the lowest", func(r *run) string { return lossAt(r.validation(name), true) })
	}
	add("perplexity of the merged model", func(r *run) string {
		x := r.extended
		if x == nil {
			return ""
		}
		l := x.Lengths[len(x.Lengths)-1]
		if l.Trained.PPL == nil {
			return ""
		}
		return fmt.Sprintf("%s at %s tokens", showPPL(float64(*l.Trained.PPL)), thousands(int64(l.Ctx)))
	})
	add("tokens", func(r *run) string { return thousands(r.tokens()) })
	add("time in steps", func(r *run) string { return ui.Duration(r.seconds()) })
	add("tokens a second, the median", func(r *run) string {
		var speeds []float64
		for _, m := range r.steps {
			speeds = append(speeds, m.TokPerS)
		}
		return thousands(int64(middle(speeds) + 0.5))
	})
	bytes := func(of func(*rundir.Metrics) int64) func(*run) string {
		return func(r *run) string {
			if n := r.peak(of); n > 0 {
				return ui.Bytes(n)
			}
			return ""
		}
	}
	add("device memory, peak", bytes(func(m *rundir.Metrics) int64 { return m.DevicePeak }))
	add("host memory, peak", bytes(func(m *rundir.Metrics) int64 { return m.HostPeak }))
	recorded := func(what string, of func(*train.Record) string) {
		add(what, func(r *run) string {
			if r.record == nil {
				return ""
			}
			return of(r.record)
		})
	}
	recorded("parameters trained", func(r *train.Record) string { return thousands(r.Plan.Trainable) })
	recorded("device and type", func(r *train.Record) string { return r.Device + ", " + typeName(r.DType) })
	recorded("program", func(r *train.Record) string { return "longlora " + r.Version })
	return t
}

func lossAt(s series, lowest bool) string {
	if len(s.Y) == 0 {
		return ""
	}
	at := len(s.Y) - 1
	if lowest {
		for i, y := range s.Y {
			if y < s.Y[at] {
				at = i
			}
		}
	}
	return fmt.Sprintf("%.4f at step %s", s.Y[at], number(s.X[at]))
}
