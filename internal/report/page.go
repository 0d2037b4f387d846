// Package report writes one HTML page that shows what a run brought: it needs no network and no other file.
package report

import (
	_ "embed"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/extend"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// Page is a report.
type Page struct {
	Title, About string
	Verdict      *Verdict
	Bigs         []Big
	Judged       []string // on what and how it was judged
	Words        []string // what it means
	Notes        []string // what is missing or damaged
	Sections     []Section
}

// Section is a part of a page.
type Section struct {
	Title   string
	Figures []Figure
	Bars    []Bars
	Heats   []Heat
	Tables  []Table
	Config  string // longlora.yaml
}

// Table has a heading row, or names in its first column.
type Table struct {
	Title string
	Head  []string
	Rows  [][]string
	Text  bool // its cells are text, which may be long, and not figures
}

// Heat is a map of recall: a row a depth, a column a length.
type Heat struct {
	Title string
	Head  []string
	Rows  []HeatRow
}

// HeatRow is one depth.
type HeatRow struct {
	Head  string
	Cells []HeatCell
}

// HeatCell is how many were found; Level is from 0, none, to 10, all.
type HeatCell struct {
	Text  string
	Level int
	Known bool
}

// chart adds a figure, where there is something to draw.
func (s *Section) chart(title string, a axes, curves ...series) {
	if f, ok := chart(title, a, curves...); ok {
		s.Figures = append(s.Figures, f)
	}
}

// Dir makes the page of a folder: a training run, what extend wrote, or eval's results. What is damaged in
// them is said on log too.
func Dir(dir string, log io.Writer) (*Page, error) {
	if st, err := os.Stat(dir); err != nil {
		return nil, errs.Dataf("%w", err)
	} else if !st.IsDir() {
		return nil, errs.Dataf("%s is a file; give the folder of a run, of extend or of eval's results", dir)
	}
	p := &Page{Title: "longlora report", About: dir}
	found := false
	for _, part := range []struct {
		file string
		add  func(dir string, log io.Writer) error
	}{{rundir.ReportFile, p.addExtend}, {rundir.MetricsFile, p.addTraining}, {rundir.ResultsFile, p.addResults}} {
		if !files.Exists(filepath.Join(dir, part.file)) {
			continue
		}
		found = true
		if err := part.add(dir, log); err != nil {
			return nil, err
		}
	}
	if found {
		return p, nil
	}
	if files.Exists(filepath.Join(dir, rundir.ExtensionFile)) {
		if adapter := filepath.Join(dir, rundir.AdapterDir); files.Exists(filepath.Join(adapter, rundir.MetricsFile)) {
			p.Notes = append(p.Notes, "extend has not finished here: this is the training so far, and nothing is judged yet. "+
				"The same extend command goes on.")
			return p, p.addTraining(adapter, log)
		}
		return nil, errs.Dataf("%s: extend has not finished here, there is no %s and no step of training yet; the same "+
			"extend command goes on", dir, rundir.ReportFile)
	}
	return nil, errs.Dataf("%s is no run: it holds neither %s (training), %s (extend) nor %s (eval %s)", dir,
		rundir.MetricsFile, rundir.ReportFile, rundir.ResultsFile, errs.Option("out"))
}

// read reads a run's folder and notes what is damaged or missing in it.
func (p *Page) read(dir string, log io.Writer) (*training, error) {
	t, err := readTraining(dir)
	if err != nil {
		return nil, err
	}
	if t.damaged > 0 {
		note := fmt.Sprintf("%s: %d damaged lines were left out", filepath.Join(dir, rundir.MetricsFile), t.damaged)
		if t.damaged == 1 {
			note = strings.Replace(note, "lines were", "line was", 1)
		}
		p.Notes = append(p.Notes, note+".")
		fmt.Fprintf(log, "warning: %s\n", note)
	}
	if t.record == nil {
		p.Notes = append(p.Notes, fmt.Sprintf("%s is not there: the plan and what was trained on are not known.",
			filepath.Join(dir, rundir.RecordFile)))
	}
	return t, nil
}

func (p *Page) addTraining(dir string, log io.Writer) error {
	t, err := p.read(dir, log)
	if err != nil {
		return err
	}
	if p.Verdict == nil {
		v := t.state()
		p.Verdict, p.Bigs, p.Judged = &v, t.bigs(), t.trainedOn()
		if model, ctx := t.option("model"), int64(t.number("ctx")); model != "" && ctx > 0 {
			p.Title += ": " + p.About
			p.About = fmt.Sprintf("%s, trained at %s tokens", model, thousands(ctx))
		}
	} else if v := t.state(); v.Text != "" {
		p.Words = append(p.Words, v.Text)
	}
	p.Words, p.Sections = append(p.Words, t.words()...), append(p.Sections, t.section())
	return nil
}

func (p *Page) addExtend(dir string, log io.Writer) error {
	var r extend.Report
	path := filepath.Join(dir, rundir.ReportFile)
	if err := files.ReadJSON(path, &r); err != nil {
		return err
	}
	if err := checkExtend(path, &r); err != nil {
		return err
	}
	made := "extended to"
	if r.Within() {
		made = "trained at"
	}
	p.About = fmt.Sprintf("%s, %s %s tokens", r.Model, made, thousands(int64(r.Ctx)))
	js := columns(&r)
	v := verdict(&r)
	p.Verdict, p.Bigs, p.Judged = &v, bigs(&r, js), judgedOn(&r, lastWritten(path))
	p.Words = append(append(p.Words, sayQuality(js)...), sayTraining(&r, js)...)
	p.Sections = append(p.Sections, quality(js))
	if r.Train != nil && files.Exists(filepath.Join(dir, rundir.AdapterDir, rundir.MetricsFile)) {
		return p.addTraining(filepath.Join(dir, rundir.AdapterDir), log)
	}
	return nil
}

func (p *Page) addResults(dir string, _ io.Writer) error {
	var r eval.Report
	path := filepath.Join(dir, rundir.ResultsFile)
	if err := files.ReadJSON(path, &r); err != nil {
		return err
	}
	if len(r.Results) == 0 {
		return errs.Dataf("%s: it has no results", path)
	}
	if err := checkResults(path, r.Results); err != nil {
		return err
	}
	if p.Verdict == nil {
		p.Title, p.About = p.Title+": "+p.About, ""
	}
	p.addModels(r, lastWritten(path))
	return nil
}

// Eval makes the page of eval's results.
func Eval(r eval.Report) *Page {
	p := &Page{Title: "longlora report"}
	p.addModels(r, time.Now())
	return p
}

func (p *Page) addModels(r eval.Report, on time.Time) {
	js := models(r.Results)
	if p.About == "" {
		var names []string
		for _, j := range js {
			names = append(names, j.name)
		}
		p.About = strings.Join(names, "; ")
	}
	v := standing(js)
	p.Verdict, p.Bigs, p.Judged = &v, bigsOf(js), judgedBy(r, on)
	p.Words = append(p.Words, sayQuality(js)...)
	s := quality(js)
	t := Table{Title: "Each result", Head: []string{"model", "task", "tokens", "windows or prompts", "loss", "perplexity",
		"found", "attention", "positions", "type"}}
	for _, x := range r.Results {
		name := x.Model
		if x.Adapter != nil {
			name += " + " + *x.Adapter
		}
		row := []string{name, x.Task, thousands(int64(x.Ctx)), thousands(int64(x.Windows + x.Trials)), "–", "–", "–", x.Attn,
			x.Rope, x.DType}
		if x.Loss != nil {
			row[4] = fmt.Sprintf("%.4f", *x.Loss)
		}
		if x.PPL != nil {
			row[5] = showPPL(float64(*x.PPL))
		}
		if x.Accuracy != nil {
			row[6] = percent(*x.Accuracy)
		}
		if x.Ruler != nil {
			row[1] = "ruler (RULER-like)"
			row[3], row[6] = thousands(int64(x.Ruler.Prompts())), fmt.Sprintf("%.1f ± %.1f %%", 100*x.Score, 100*x.StdErr)
		}
		t.Rows = append(t.Rows, row)
	}
	s.Tables = append(s.Tables, t)
	p.Sections = append(p.Sections, s)
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"soft": soft}).Parse(pageText))

// soft is a text whose paths break after slashes where they must, before any word does.
func soft(s string) template.HTML {
	return template.HTML(strings.ReplaceAll(html.EscapeString(s), "/", "/<wbr>")) //nolint:gosec // escaped
}

// head begins every page, so that one can be told from what else may lie in its place.
const head = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta name=\"generator\" content=\"longlora report\">\n"

// CheckFile refuses a place for a page where anything but a page is.
func CheckFile(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if st, err := os.Stat(filepath.Dir(path)); err != nil {
			return files.Fault(path, err)
		} else if !st.IsDir() {
			return errs.Dataf("%s: a file where a folder is wanted", filepath.Dir(path))
		}
		return nil
	case err != nil:
		return files.Fault(path, err)
	case st.IsDir():
		return errs.Usagef("%s is a folder; name a file to write the page to", path)
	}
	f, err := files.Open(path)
	if err != nil {
		return errs.Usagef("%w; it is left alone: give another name", err)
	}
	defer f.Close()
	begins := make([]byte, len(head))
	if _, err := io.ReadFull(f, begins); err != nil || string(begins) != head {
		return errs.Usagef("%s: a file is there that is no page of this program; it is left alone: give another name, or "+
			"move it away", path)
	}
	return nil
}

// Write writes the page to a file, atomically, in the place of an older page at most.
func (p *Page) Write(path string) error {
	if err := CheckFile(path); err != nil {
		return err
	}
	return files.WriteAtomic(path, func(w io.Writer) error { return page.Execute(w, p) })
}
