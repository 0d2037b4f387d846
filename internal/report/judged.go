package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"longlora/internal/eval"
	"longlora/internal/extend"
)

// judged is one model with what it scores by length.
type judged struct {
	name    string // in legends and tables
	subject string // begins a sentence
	style   int    // of its curves
	ppl     []atLength
	places  map[int][]eval.Position // by length: losses inside the window
	recall  map[string][]atLength   // by task
	cells   map[string]map[int][]eval.Cell
	missed  map[int][]eval.Miss // by length
	ruler   map[int]*eval.Ruler // by length
}

// atLength is a figure at a context length.
type atLength struct {
	ctx int
	v   float64
}

func (j *judged) addPPL(ctx int, v float64, places []eval.Position) {
	if j.places == nil {
		j.places = map[int][]eval.Position{}
	}
	j.ppl, j.places[ctx] = append(j.ppl, atLength{ctx, v}), places
}

func (j *judged) addRecall(task string, ctx int, v float64, cells []eval.Cell) {
	if j.recall == nil {
		j.recall, j.cells = map[string][]atLength{}, map[string]map[int][]eval.Cell{}
	}
	if j.cells[task] == nil {
		j.cells[task] = map[int][]eval.Cell{}
	}
	j.recall[task] = append(j.recall[task], atLength{ctx, v})
	j.cells[task][ctx] = cells
}

// find is the figure at a length.
func find(list []atLength, ctx int) (float64, bool) {
	for _, a := range list {
		if a.ctx == ctx {
			return a.v, true
		}
	}
	return 0, false
}

// columns are extend's three models.
func columns(r *extend.Report) []*judged {
	last := &judged{name: "trained", subject: "After training, the model", style: styleTrained}
	if r.Train == nil {
		last = &judged{name: "merged, not trained", subject: "The merged model, whose positions alone are new,",
			style: styleTrained}
	}
	js := []*judged{{name: "base", subject: "The base", style: styleBase},
		{name: "interpolated", subject: "With new positions and no training, the model", style: styleInterpolated}, last}
	for _, l := range r.Lengths {
		for i, f := range []eval.Figures{l.Base, l.Interpolated, l.Trained} {
			if f.PPL != nil {
				js[i].addPPL(l.Ctx, float64(*f.PPL), f.Positions)
			}
			if f.Accuracy != nil {
				js[i].addRecall("passkey", l.Ctx, *f.Accuracy, f.Cells)
				js[i].addMissed(l.Ctx, f.Missed)
			}
			if f.Ruler != nil {
				js[i].addRuler(l.Ctx, f.Ruler)
			}
		}
	}
	return sorted(js)
}

// models are eval's: one for each model, and for each way in which it was read.
func models(rs []eval.Result) []*judged {
	varies := func(of func(eval.Result) string) bool {
		return slices.ContainsFunc(rs, func(r eval.Result) bool { return of(r) != "" && of(r) != of(rs[0]) })
	}
	attn, protocol := varies(func(r eval.Result) string { return r.Attn }),
		varies(func(r eval.Result) string { return r.Protocol })
	var js []*judged
	for _, r := range rs {
		name := r.Model
		if r.Adapter != nil {
			name += " + " + *r.Adapter
		}
		if attn {
			name += ", attention " + r.Attn
		}
		if protocol && r.Protocol != "" {
			name += ", protocol " + r.Protocol
		}
		i := slices.IndexFunc(js, func(j *judged) bool { return j.name == name })
		if i < 0 {
			i, js = len(js), append(js, &judged{name: name, subject: name, style: 1 + len(js)%styles})
		}
		if r.PPL != nil {
			js[i].addPPL(r.Ctx, float64(*r.PPL), r.Positions)
		}
		if r.Accuracy != nil {
			js[i].addRecall(r.Task, r.Ctx, *r.Accuracy, r.Cells)
			if r.Task == "passkey" {
				js[i].addMissed(r.Ctx, r.Missed)
			}
		}
		if r.Ruler != nil {
			js[i].addRuler(r.Ctx, r.Ruler)
		}
	}
	return sorted(js)
}

// sorted puts each model's figures in order of length.
func sorted(js []*judged) []*judged {
	up := func(a, b atLength) int { return a.ctx - b.ctx }
	for _, j := range js {
		slices.SortStableFunc(j.ppl, up)
		for _, l := range j.recall {
			slices.SortStableFunc(l, up)
		}
	}
	return js
}

// lengths are all lengths of some figures, rising.
func lengths(js []*judged, of func(*judged) []atLength) (out []int) {
	for _, j := range js {
		for _, a := range of(j) {
			out = append(out, a.ctx)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func perplexity(j *judged) []atLength { return j.ppl }

// tasks are the recall tasks of all models, in order.
func tasks(js []*judged) (out []string) {
	for _, j := range js {
		for t := range j.recall {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// quality is the section on how good models are at each length.
func quality(js []*judged) Section {
	s := Section{Title: "By length"}
	s.byLength("Perplexity by length (lower is better)", "perplexity", js, perplexity, 1, showPPL)
	s.byPlace(js)
	s.Tables = append(s.Tables, byModel("Perplexity by length", js, perplexity, showPPL)...)
	for _, task := range tasks(js) {
		recall := func(j *judged) []atLength { return j.recall[task] }
		s.byLength(found(task)+" by length", "% found", js, recall, 100, percent)
		s.Tables = append(s.Tables, byModel(found(task)+" by length", js, recall, percent)...)
		for _, j := range js {
			s.Heats = append(s.Heats, heat(found(task)+" by depth: "+j.name, j.cells[task])...)
		}
	}
	for _, j := range js {
		s.Tables = append(s.Tables, j.missedTable()...)
		s.Tables = append(s.Tables, bySubtask(j)...)
	}
	return s
}

// found names what a recall task counts.
func found(task string) string {
	switch task {
	case "passkey":
		return "Passkeys found"
	case "topics":
		return "Topics found"
	}
	return "Found in the " + task + " tasks"
}

// byModel is a table of one figure: a row a length, a column a model that has it.
func byModel(title string, js []*judged, of func(*judged) []atLength, show func(float64) string) []Table {
	t := Table{Title: title, Head: []string{"tokens"}}
	js = slices.DeleteFunc(slices.Clone(js), func(j *judged) bool { return len(of(j)) == 0 })
	for _, j := range js {
		t.Head = append(t.Head, j.name)
	}
	for _, n := range lengths(js, of) {
		row := []string{thousands(int64(n))}
		for _, j := range js {
			row = append(row, cell(of(j), n, show))
		}
		t.Rows = append(t.Rows, row)
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return []Table{t}
}

// byLength adds a chart of one figure against the length; where that is one length, bars.
func (s *Section) byLength(title, label string, js []*judged, of func(*judged) []atLength, scale float64,
	show func(float64) string) {
	at := lengths(js, of)
	a := axes{X: "tokens", Y: label, Marks: true, Zero: scale != 1, Share: scale == 100}
	var curves []series
	for _, j := range js {
		c := series{Name: j.name, Style: j.style}
		for _, p := range of(j) {
			c.add(float64(p.ctx), scale*p.v)
		}
		curves = append(curves, c)
	}
	if len(at) == 1 {
		n := thousands(int64(at[0]))
		if b, ok := bars(strings.Replace(title, "by length", "at "+n+" tokens", 1),
			func(v float64) string { return show(v / scale) }, curves...); ok {
			s.Bars = append(s.Bars, b)
		}
		return
	}
	for _, n := range at {
		a.XAt = append(a.XAt, float64(n))
	}
	if len(at) > 1 {
		a.LogX = at[len(at)-1] >= 3*at[0]
	}
	a.LogY = scale == 1 && spread(curves...)
	s.chart(title, a, curves...)
}

// byPlace adds a chart of the perplexity inside the longest windows, where a model that fails past some place shows it.
func (s *Section) byPlace(js []*judged) {
	at := lengths(js, perplexity)
	if len(at) == 0 {
		return
	}
	n := at[len(at)-1]
	var curves []series
	for _, j := range js {
		c := series{Name: j.name, Style: j.style}
		for _, p := range j.places[n] {
			c.add(float64(p.From+p.To)/2, math.Exp(p.Loss))
		}
		curves = append(curves, c)
	}
	a := axes{X: "tokens into the window", Y: "perplexity", Marks: true, LogY: spread(curves...)}
	for i := range 3 {
		a.XAt = append(a.XAt, float64((i+1)*n)/4)
	}
	s.chart(fmt.Sprintf("Perplexity by place within %s tokens", thousands(int64(n))), a, curves...)
}

func cell(list []atLength, n int, show func(float64) string) string {
	if v, ok := find(list, n); ok {
		return show(v)
	}
	return "–"
}

// showPPL writes a perplexity as closely as one reads it.
func showPPL(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return eval.PPL(v).String()
	case v >= 1e15:
		return power(v)
	case v >= 1e6:
		return large(v)
	case v >= 100:
		return thousands(int64(v + 0.5))
	}
	return fmt.Sprintf("%.2f", v)
}

// large writes a number of a million or more as people say it.
func large(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "trillion"}, {1e9, "billion"}, {1e6, "million"}} {
		if v >= u.size {
			return fmt.Sprintf("%.3g %s", v/u.size, u.name)
		}
	}
	return thousands(int64(v + 0.5))
}

func percent(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

// heat lays recall out by length and depth; nothing where no cell is known.
func heat(title string, cells map[int][]eval.Cell) []Heat {
	h := Heat{Title: title}
	var at []int
	var depths []float64
	for n, cs := range cells {
		if len(cs) > 0 {
			at = append(at, n)
		}
		for _, c := range cs {
			depths = append(depths, c.Depth)
		}
	}
	if len(depths) == 0 {
		return nil
	}
	slices.Sort(at)
	slices.Sort(depths)
	for _, n := range at {
		h.Head = append(h.Head, thousands(int64(n)))
	}
	for _, d := range slices.Compact(depths) {
		row := HeatRow{Head: trim(fmt.Sprintf("%.1f", 100*d)) + " %"}
		for _, n := range at {
			c := HeatCell{Text: "–"}
			for _, x := range cells[n] {
				if x.Depth == d && x.Trials > 0 {
					c = HeatCell{Text: fmt.Sprintf("%d/%d", x.Correct, x.Trials), Level: max(0, min(10, 10*x.Correct/x.Trials)),
						Known: true}
				}
			}
			row.Cells = append(row.Cells, c)
		}
		h.Rows = append(h.Rows, row)
	}
	return []Heat{h}
}
