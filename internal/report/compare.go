package report

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/extend"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// run is one of several training runs that stand side by side.
type run struct {
	*training
	name     string // what its path has that the others' have not
	style    int
	extended *extend.Report // nil where extend did not write it, or has not finished
}

// Compare makes one page of several training runs: each a folder of train or extend, or a metrics.jsonl.
func Compare(paths []string, log io.Writer) (*Page, error) {
	if len(paths) > styles {
		return nil, errs.Usagef("report: %d runs; the page tells %d apart: name fewer", len(paths), styles)
	}
	p := &Page{Title: "longlora report"}
	names, err := namesOf(paths)
	if err != nil {
		return nil, err
	}
	var runs []*run
	for i, path := range paths {
		r, err := p.readRun(path, log)
		if err != nil {
			return nil, err
		}
		if len(r.steps) == 0 {
			return nil, errs.Dataf("%s: no step of training is done there yet", path)
		}
		r.name, r.style = names[i], 1+i
		runs = append(runs, r)
	}
	p.About = strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	v := beside(runs)
	p.Verdict = &v
	for _, r := range runs {
		p.Bigs = append(p.Bigs, r.big())
	}
	p.Judged = trainedOnOne(runs)
	s := sideBySide(runs)
	s.Tables = []Table{differing(runs), became(runs)}
	p.Sections = append(p.Sections, s)
	for _, r := range runs {
		for _, w := range r.words() {
			p.Words = append(p.Words, r.name+": "+w)
		}
	}
	return p, nil
}

// trainedOnOne says on what all runs train, from which seed; nothing where they differ.
func trainedOnOne(runs []*run) (out []string) {
	first := runs[0].record
	for _, r := range runs {
		if r.record == nil || r.record.Seed != first.Seed || listed(r.record.Data) != listed(first.Data) {
			return nil
		}
	}
	return []string{fmt.Sprintf("All trained on %s. Seed %d.", listed(first.Data), first.Seed)}
}

// namesOf are short names of paths: what is left of each without the folders that begin, or end, all of them.
func namesOf(paths []string) ([]string, error) {
	parts := make([][]string, len(paths))
	for i, p := range paths {
		for j := range i {
			if files.SameDir(folderOf(p), folderOf(paths[j])) {
				return nil, errs.Usagef("report: %s and %s are one run; name each once", paths[j], p)
			}
		}
		if filepath.Base(p) == rundir.MetricsFile {
			p = filepath.Dir(p)
		}
		parts[i] = strings.Split(filepath.Clean(p), string(filepath.Separator))
	}
	same := func(of func([]string) string) bool {
		return !slices.ContainsFunc(parts, func(p []string) bool { return len(p) < 2 || of(p) != of(parts[0]) })
	}
	for first := func(p []string) string { return p[0] }; same(first); {
		for i := range parts {
			parts[i] = parts[i][1:]
		}
	}
	for last := func(p []string) string { return p[len(p)-1] }; same(last); {
		for i := range parts {
			parts[i] = parts[i][:len(parts[i])-1]
		}
	}
	out := make([]string, len(paths))
	for i, p := range parts {
		out[i] = shortened(filepath.Join(p...), 60)
	}
	return out, nil
}

// folderOf is where the metrics stand of the run that a path names: beside a file of them, or in extend's adapter.
func folderOf(path string) string {
	if filepath.Base(path) == rundir.MetricsFile {
		return filepath.Dir(path)
	}
	trains := func(dir string) bool { return files.Exists(filepath.Join(dir, rundir.MetricsFile)) }
	if adapter := filepath.Join(path, rundir.AdapterDir); !trains(path) && trains(adapter) {
		return adapter
	}
	return path
}

// readRun finds the training run that a path names.
func (p *Page) readRun(path string, log io.Writer) (*run, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, errs.Dataf("%w", err)
	}
	r, dir := &run{}, path
	switch adapter := filepath.Join(path, rundir.AdapterDir); {
	case !st.IsDir():
		dir = filepath.Dir(path)
		if filepath.Base(path) != rundir.MetricsFile {
			return nil, errs.Dataf("%s is a file; give the folder of a run, or its %s", path, rundir.MetricsFile)
		}
	case files.Exists(filepath.Join(path, rundir.MetricsFile)):
	case files.Exists(filepath.Join(adapter, rundir.MetricsFile)):
		dir = adapter
		if report := filepath.Join(path, rundir.ReportFile); files.Exists(report) {
			r.extended = &extend.Report{}
			if err := files.ReadJSON(report, r.extended); err != nil {
				return nil, err
			}
			if err := checkExtend(report, r.extended); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errs.Dataf("%s is no training run: it holds no %s, and no %s with one; only runs stand side by side, "+
			"and eval takes several models", path, rundir.MetricsFile, rundir.AdapterDir)
	}
	r.training, err = p.read(dir, log)
	return r, err
}

// sideBySide draws the runs, each in a style of its own, in one chart a figure.
func sideBySide(runs []*run) Section {
	s := Section{Title: "Training"}
	each := func(of func(*run) series) (out []series) {
		for _, r := range runs {
			c := binned(of(r))
			c.Name, c.Style = r.name, r.style
			out = append(out, c)
		}
		return out
	}
	of := func(value func(*rundir.Metrics) float64) []series {
		return each(func(r *run) series {
			return r.curve("", func(m *rundir.Metrics) (float64, bool) { return value(m), true })
		})
	}
	s.chart("Training loss", axes{X: "step", Y: "mean loss a token", Wide: true}, each(func(r *run) series {
		return r.loss()
	})...)
	if !sameTokens(runs) {
		s.chart("Training loss by tokens", axes{X: "tokens", Y: "mean loss a token"}, each((*run).byTokens)...)
	}
	for _, name := range validationNames {
		s.atSteps(strings.ToUpper(name[:1])+name[1:], each(func(r *run) series { return r.validation(name) }))
	}
	norm := of(func(m *rundir.Metrics) float64 { return m.GradNorm })
	s.chart("Gradient norm, before clipping", axes{X: "step", Y: "L2 norm", Zero: true, LogY: spread(norm...)}, norm...)
	s.chart("Throughput", axes{X: "step", Y: "tokens a second", Zero: true},
		of(func(m *rundir.Metrics) float64 { return m.TokPerS })...)
	for _, kind := range []struct {
		title string
		of    func(*rundir.Metrics) int64
	}{{"Device memory", func(m *rundir.Metrics) int64 { return m.DevicePeak }},
		{"Host memory", func(m *rundir.Metrics) int64 { return m.HostPeak }}} {
		most := int64(0)
		for _, r := range runs {
			most = max(most, r.peak(kind.of))
		}
		if unit, label := unitOf(most); most > 0 {
			s.chart(kind.title, axes{X: "step", Y: label + ", peak so far", Zero: true},
				of(func(m *rundir.Metrics) float64 { return float64(kind.of(m)) / unit })...)
		}
	}
	s.chart("Learning rate", axes{X: "step", Y: "rate", Zero: true, Low: true},
		of(func(m *rundir.Metrics) float64 { return m.LR })...)
	return s
}

// atSteps adds a chart of losses at a few steps; where that is one step for all, bars.
func (s *Section) atSteps(title string, curves []series) {
	var at []float64
	for _, c := range curves {
		at = append(at, c.X...)
	}
	slices.Sort(at)
	if at = slices.Compact(at); len(at) != 1 {
		s.chart(title, axes{X: "step", Y: "mean loss a token", Marks: true}, curves...)
		return
	}
	if b, ok := bars(fmt.Sprintf("%s at step %s", title, number(at[0])), func(v float64) string {
		return fmt.Sprintf("%.4f", v)
	}, curves...); ok {
		s.Bars = append(s.Bars, b)
	}
}

// validationNames are the curves of validations, the one that a model is judged by first.
var validationNames = []string{"validation loss under full attention", "validation loss",
	"validation loss under S² attention"}

// validation is the curve of that name, empty where the run has none.
func (r *run) validation(name string) series {
	for _, v := range r.validations() {
		if v.Name == name {
			return v
		}
	}
	return series{}
}

// byTokens is the loss over the tokens that were trained on up to each step.
func (r *run) byTokens() (s series) {
	tokens := int64(0)
	for i := range r.steps {
		tokens += r.steps[i].Tokens
		s.add(float64(tokens), r.steps[i].Loss)
	}
	return s
}

func (r *run) tokens() (n int64) {
	for _, m := range r.steps {
		n += m.Tokens
	}
	return n
}

// sameTokens reports whether steps of all runs have about as many tokens.
func sameTokens(runs []*run) bool {
	mean := func(r *run) float64 { return float64(r.tokens()) / float64(len(r.steps)) }
	return !slices.ContainsFunc(runs, func(r *run) bool {
		return math.Abs(mean(r)-mean(runs[0])) > 0.01*mean(runs[0])
	})
}

// beside says which run has the lowest validation loss, where the losses compare.
func beside(runs []*run) Verdict {
	v := Verdict{Kind: "plain", Head: fmt.Sprintf("%d runs side by side", len(runs))}
	for _, name := range validationNames {
		if slices.ContainsFunc(runs, func(r *run) bool { return len(r.validation(name).Y) == 0 }) {
			continue
		}
		if why := incomparable(runs, name); why != "" {
			v.Text = fmt.Sprintf("Their %s do not compare: %s.", strings.Replace(name, "loss", "losses", 1), why)
			return v
		}
		var best *run
		least := math.Inf(1)
		var parts []string
		for _, r := range runs {
			s := r.validation(name)
			last := len(s.Y) - 1
			if s.Y[last] < least {
				best, least = r, s.Y[last]
			}
			parts = append(parts, fmt.Sprintf("%s %.4f at step %s", r.name, s.Y[last], number(s.X[last])))
		}
		v.Head = fmt.Sprintf("%s has the lowest %s: %.4f", best.name, name, least)
		v.Text = "At the last validation of each: " + strings.Join(parts, ", ") + "."
		return v
	}
	v.Text = "No validation loss is there that all of them have; training losses of different rows compare only roughly."
	return v
}

// incomparable says in which way validations are of different things, "" where they are of one.
func incomparable(runs []*run, name string) string {
	options := []string{"ctx", "eval-fraction", "pack", "format", "template", "text-field", "train-on-prompt"}
	if name != validationNames[0] {
		options = append(options, "group-size", "shift")
	}
	if name == "validation loss" {
		options = append(options, "attn", "full-last", "eval-attn")
	}
	first := runs[0].record
	for _, r := range runs {
		if r.record == nil {
			return "of " + r.name + " it is not known on what it was validated"
		}
		for _, o := range options {
			if r.record.Options[o] != first.Options[o] {
				return errs.Option(o).String() + " differs"
			}
		}
		of, other := r.record.EvalData, first.EvalData
		if len(of) == 0 && len(other) == 0 {
			of, other = r.record.Data, first.Data
		}
		if !slices.EqualFunc(of, other, func(a, b files.Fingerprint) bool { return a.SHA256 == b.SHA256 }) {
			return "they are of different data"
		}
	}
	return ""
}
