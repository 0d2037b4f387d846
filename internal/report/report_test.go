package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/eval"
	"longlora/internal/extend"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
)

// evil is a name that would break a page which does not escape it.
const evil = `<script>alert("1")</script>&'x`

// written is the page as it stands in its file; what holds for every page is checked.
func written(t *testing.T, p *Page) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.html")
	if err := p.Write(path); err != nil {
		t.Fatal(err)
	}
	b := testkit.Read(t, path)
	text := string(b)
	if strings.Contains(text, "<script") || regexp.MustCompile(`(src|href)=`).MatchString(text) {
		t.Error("the page has a script or refers to something outside it")
	}
	svgs := regexp.MustCompile(`(?s)<svg .*?</svg>`).FindAllString(text, -1)
	for _, s := range svgs {
		d := xml.NewDecoder(strings.NewReader(s))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("a drawing is not well formed: %v\n%s", err, s)
			}
		}
		if regexp.MustCompile(`#[0-9A-F]{6}|NaN|Inf`).MatchString(s) {
			t.Errorf("a drawing has a fixed colour or no number:\n%.600s", s)
		}
	}
	if n := strings.Count(text, "<svg"); n != len(svgs) {
		t.Errorf("%d of %d drawings are whole", len(svgs), n)
	}
	return text
}

func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, html.EscapeString(p)) && !strings.Contains(text, p) {
			t.Errorf("the page does not say %q", p)
		}
	}
}

// metrics are n lines of a run whose loss falls from 3 to 2, its peak in step n/2.
func metrics(n int) string {
	var b strings.Builder
	for s := 1; s <= n; s++ {
		m := rundir.Metrics{Step: s, Loss: 3 - float64(s)/float64(n), GradNorm: 1, LR: 1e-5, Tokens: 100, TokPerS: 50, StepS: 2, HostPeak: 1 << 20}
		if s == n/2 {
			m.GradNorm = 1000
		}
		if s%(n/2) == 0 {
			v := 2.5 + float64(s)/float64(n)/10
			m.EvalFull = &v
		}
		line, _ := json.Marshal(m)
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// A long run's curves keep their peaks in a few hundred points, damaged lines are counted, a missing run.json is said.
func TestTrainingRun(t *testing.T) {
	dir := t.TempDir()
	testkit.Write(t, filepath.Join(dir, rundir.MetricsFile), metrics(1000)+"{\"step\": 4\nnonsense\n")
	testkit.Write(t, filepath.Join(dir, rundir.ConfigFile), "model: '"+strings.ReplaceAll(evil, "'", "''")+"'\nctx: 512\n")
	var log bytes.Buffer
	p, err := Dir(dir, &log)
	if err != nil {
		t.Fatal(err)
	}
	text := written(t, p)
	wants(t, text, "2 damaged lines were left out", "run.json is not there", html.EscapeString(evil)[:10], "100,000",
		"The training loss fell from 2.9495 to 2.0495 (means of the first and the last 100 steps).", "<strong>2.0495",
		"Validation loss under full attention rose from 2.5500 (step 500) to 2.6000 (step 1,000).", "Throughput", "Host memory")
	if !strings.Contains(log.String(), "2 damaged lines") {
		t.Errorf("stderr: %s", log.String())
	}
	if len(text) > 350<<10 {
		t.Errorf("the page has %d bytes", len(text))
	}
}

func TestBinned(t *testing.T) {
	s := series{}
	for i := range 10_000 {
		s.add(float64(i), float64(i%7))
	}
	s.add(10_000, math.Inf(1)) // not drawable
	s.Y[5000] = 99
	b := binned(s)
	if len(b.X) > most || len(b.X) < most/2 {
		t.Fatalf("%d points", len(b.X))
	}
	top, sum := 0.0, 0.0
	for i := range b.X {
		top = max(top, b.Hi[i])
		sum += b.Y[i]
		if b.Lo[i] > b.Y[i] || b.Y[i] > b.Hi[i] || i > 0 && b.X[i] <= b.X[i-1] {
			t.Fatalf("bin %d: %g in %g to %g at %g", i, b.Y[i], b.Lo[i], b.Hi[i], b.X[i])
		}
	}
	if top != 99 || math.Abs(sum/float64(len(b.X))-3) > 0.1 {
		t.Errorf("peak %g, mean %g", top, sum/float64(len(b.X)))
	}
	if short := (series{X: []float64{1}, Y: []float64{2}}); len(binned(short).Lo) != 0 {
		t.Error("a short curve is binned")
	}
}

// Curves that are hard on an axis are drawn without a panic.
func TestHardAxes(t *testing.T) {
	for _, c := range []struct {
		log bool
		y   []float64
	}{{false, []float64{5}}, {false, []float64{0, 0}}, {true, []float64{3}}, {true, []float64{1e-9, 1e9}}, {false, []float64{-1e99, 1e99}}, {true, []float64{6.6, 6.7}}} {
		s := series{Name: "x"}
		for i, y := range c.y {
			s.add(float64(i+1), y)
		}
		f, ok := chart("t", axes{LogY: c.log, Marks: true}, s)
		if !ok || regexp.MustCompile(`NaN|Inf|e[+-]\d`).MatchString(string(f.Body)) {
			t.Errorf("%v: %v %s", c, ok, f.Body)
		}
	}
	if _, ok := chart("t", axes{}, series{}); ok {
		t.Error("nothing is drawn")
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		of     func(lo, hi float64) []tick
		lo, hi float64
		want   string
	}{
		{linear, 0, 28_000, "0 10,000 20,000"}, {linear, 0, 106, "0 50 100"}, {linear, 1.1, 2.5, "1.5 2 2.5"}, {linear, -3, 330, "0 100 200 300"},
		{linear, 0, 0.0021, "0 5·10⁻⁴ 10⁻³ 1.5·10⁻³ 2·10⁻³"}, {linear, 0, 25e6, "0 5·10⁶ 10⁷ 1.5·10⁷ 2·10⁷ 2.5·10⁷"},
		{decades, 4, 1.2e4, "10 100 1,000 10,000"}, {decades, 3, 40, "5 10 20"}, {decades, 3, 1e8, "10² 10⁴ 10⁶ 10⁸"}, {decades, 6.6, 6.7, "6.6 6.65 6.7"},
	} {
		var got []string
		for _, x := range c.of(c.lo, c.hi) {
			got = append(got, x.label)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%g to %g: %s, want %s", c.lo, c.hi, s, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 2e-5: "2·10⁻⁵", 0.25: "0.25", 0.001: "10⁻³", 0.0006000000000000001: "6·10⁻⁴", 1.25e-12: "1.25·10⁻¹²", 3: "3", 16384: "16,384", 1234567: "1,234,567", 1e8: "10⁸", -1e8: "-10⁸", -2000: "-2,000", 0.1 + 0.2: "0.3"} {
		if got := number(v); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
}

// What is said of a model follows from its figures.
func TestSayPerplexity(t *testing.T) {
	for _, c := range []struct {
		ppl  []float64 // at 256, 512, 1024
		want string
	}{
		{nil, ""},
		{[]float64{6.6}, "It has a perplexity of 6.60 at 256 tokens."},
		{[]float64{6.6, 140, 956}, "It fails beyond 256 tokens: its perplexity is 6.60 there and 956 at 1,024."},
		{[]float64{6.6, 6.8, 30}, "It fails beyond 512 tokens: its perplexity is 6.80 there and 30.00 at 1,024."},
		{[]float64{6, 7, 9}, "It gets worse with length: its perplexity is 6.00 at 256 tokens and 9.00 at 1,024."},
		{[]float64{10, 9, 10.85}, "It holds up to 1,024 tokens: its perplexity, 10.00 at 256, stays within 9 % of that."},
		{[]float64{10, 9, 8}, "It holds up to 1,024 tokens: its perplexity is 10.00 at 256 and 8.00 at 1,024, and nowhere higher than at the first."},
	} {
		j := &judged{subject: "It"}
		for i, v := range c.ppl {
			j.ppl = append(j.ppl, atLength{256 << i, v})
		}
		if got := sayPerplexity(j); got != c.want {
			t.Errorf("%v: %q, want %q", c.ppl, got, c.want)
		}
	}
}

func figures(ppl, recall float64) eval.Figures {
	e := eval.PPL(ppl)
	f := eval.Figures{PPL: &e, Accuracy: &recall, Positions: []eval.Position{{From: 0, To: 64, Loss: 1}, {From: 64, To: 128, Loss: 2}}}
	for d := range 2 {
		f.Cells = append(f.Cells, eval.Cell{Depth: (float64(d) + .5) / 2, Trials: 4, Correct: int(4 * recall)})
	}
	return f
}

func TestExtend(t *testing.T) {
	dir := t.TempDir()
	r := extend.Report{Model: evil, Ctx: 1024, Train: &rundir.Result{Steps: 10}, Lengths: []extend.Length{
		{Ctx: 256, Base: figures(6.6, 1), Interpolated: figures(9, .5), Trained: figures(6.93, 1)},
		{Ctx: 1024, Base: figures(956, 0), Interpolated: figures(12, .25), Trained: figures(7.1, .75)},
		{Ctx: 2048}, // left out: no window
	}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(dir, rundir.ReportFile), string(b))
	testkit.Write(t, filepath.Join(dir, "adapter", rundir.MetricsFile), metrics(10))
	p, err := Dir(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, written(t, p), html.EscapeString(evil[:8]), "The base fails beyond 256 tokens: its perplexity is 6.60 there and 956 at 1,024.",
		"After training, the model holds up to 1,024 tokens", "At 1,024 tokens the perplexity was 956 (base) and 12.00 (interpolated) before training; now it is 7.10.",
		"At 256 tokens, all that the base reads by itself, something was lost: perplexity 6.60 before, 6.93 now (5.0 % higher); recall 100 % before, 100 % now.", "Found at 1,024 tokens in the passkey task: base 0 %, interpolated 25 %, trained 75 %.",
		`<td class="q0">0/4</td>`, `<td class="q7">3/4</td>`, `<td class="q10">4/4</td>`, "<td>956</td>", "25 %", "Training",
		"Perplexity by place within 1,024 tokens",
		"Extended in part: to 1,024 tokens by perplexity", "At 1,024 tokens the model's perplexity is 7.10, better than the base there (956) and nearly as good as the base at its own 256 (6.60; this is 7.6 % higher).")
}

func TestEval(t *testing.T) {
	v, ppl := func(x float64) *float64 { return &x }, func(x eval.PPL) *eval.PPL { return &x }
	rep := eval.Report{Data: []string{"a/books.txt"}, Seed: 7, Results: []eval.Result{
		{Task: "ppl", Model: "a", Protocol: "longlora", Stride: 256, Ctx: 512, Windows: 3, Loss: v(2), PPL: ppl(eval.PPL(math.Exp(2))), Attn: "full"},
		{Task: "ppl", Model: "a", Protocol: "longlora", Stride: 256, Ctx: 256, Windows: 3, Loss: v(2), PPL: ppl(eval.PPL(math.Exp(2))), Attn: "full"},
		{Task: "ppl", Model: evil, Protocol: "longlora", Stride: 256, Ctx: 256, Windows: 3, Loss: v(1), PPL: ppl(math.E), Attn: "full"},
		{Task: "passkey", Model: "a", Ctx: 256, Trials: 4, Accuracy: v(.5), Cells: []eval.Cell{{Depth: .5, Trials: 4, Correct: 2}}, Attn: "full"},
	}}
	wants(t, written(t, Eval(rep)), "<caption>Perplexity by length</caption>", "Perplexity on books.txt: longlora protocol, stride 256, full attention.", "Seed 7; ", "7.39", "2.72", "2/4", "Found at 256 tokens in the passkey task: a 50 %.", "a holds up to 512 tokens")
}

// RULER-like tasks are named so wherever they stand: eval's pages and extend's.
func TestRulerLike(t *testing.T) {
	r := &eval.Ruler{Score: 0.625, StdErr: 0.0421, Subtasks: []eval.Subtask{{Name: "niah", Trials: 4, Score: 1}, {Name: "vt", Trials: 4, Score: 0.25}}}
	var rep eval.Report
	for _, n := range []int{4096, 8192} {
		rep.Results = append(rep.Results, eval.Result{Task: "ruler", Model: evil, Ctx: n, Ruler: r, Attn: "full", Note: eval.RulerLike})
	}
	page := written(t, Eval(rep))
	wants(t, page, "Found in the RULER-like tasks by length", "RULER-like tasks, "+evil, "not comparable with RULER's", "25.0 %", "4.2 %", "62.5 ± 4.2 %", "8,192")
	dir := t.TempDir()
	var back eval.Report
	b, _ := json.Marshal(rep)
	testkit.Write(t, filepath.Join(dir, rundir.ResultsFile), string(b))
	p, err := Dir(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, written(t, p), "62.5 ± 4.2 %", "standard error")
	if err := json.Unmarshal(b, &back); err != nil || back.Results[1].Ruler == nil || back.Results[1].Subtasks[1] != r.Subtasks[1] {
		t.Errorf("%s: %v", b, err)
	}
	for field, bad := range map[string]string{"score": `"score":1.5`, "stderr": `"score":0.5,"stderr":-1`,
		"subtasks[0].trials": `"score":1,"subtasks":[{"name":"vt","trials":-1}]`, "subtasks[0].score": `"subtasks":[{"name":"vt","trials":1,"score":7}]`} {
		testkit.Write(t, filepath.Join(dir, rundir.ResultsFile), `{"results":[{"task":"ruler","model":"m","ctx":8,`+bad+`}]}`)
		if _, err := Dir(dir, io.Discard); errs.Code(err) != 4 || !strings.Contains(err.Error(), "results[0]."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	e := extend.Report{Model: "m", Ctx: 512, Lengths: []extend.Length{{Ctx: 512}}}
	e.Lengths[0].Base.Ruler, e.Lengths[0].Trained.Ruler = r, r
	s := quality(columns(&e))
	if len(s.Tables) < 3 || !strings.Contains(s.Tables[len(s.Tables)-1].Title, "RULER-like tasks, merged, not trained") {
		t.Errorf("%+v", s.Tables)
	}
}

func TestBadFolders(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"empty":         {nil, "holds neither metrics.jsonl"},
		"unfinished":    {map[string]string{"extend.json": "{}"}, "extend has not finished"},
		"all damaged":   {map[string]string{rundir.MetricsFile: "x\ny\n"}, "no step of a run in its 2 lines"},
		"not JSON":      {map[string]string{rundir.ReportFile: "x"}, "report.json: not the JSON"},
		"another JSON":  {map[string]string{rundir.ReportFile: `{"lengths":[]}`}, "report.json: ctx: 0 is not a length"},
		"no results":    {map[string]string{rundir.ResultsFile: `{}`}, "no results"},
		"no lengths":    {map[string]string{rundir.ReportFile: `{"ctx":64}`}, "report.json: lengths"},
		"extend's ppl":  {map[string]string{rundir.ReportFile: `{"ctx":64,"lengths":[{"ctx":64,"base":{"ppl":3},"trained":{"ppl":-3}}]}`}, "report.json: lengths[0].trained.ppl: -3 is not"},
		"a length":      {map[string]string{rundir.ResultsFile: `{"results":[{"task":"ppl","ctx":64},{"task":"ppl","ctx":-64}]}`}, "results.json: results[1].ctx: -64 is not a length"},
		"a task":        {map[string]string{rundir.ResultsFile: `{"results":[{"task":"mmlu","ctx":64}]}`}, "results[0].task: mmlu"},
		"windows":       {map[string]string{rundir.ResultsFile: `{"results":[{"task":"ppl","ctx":64,"windows":-1}]}`}, "results[0].windows"},
		"a loss":        {map[string]string{rundir.ResultsFile: `{"results":[{"task":"ppl","ctx":64,"loss":-1}]}`}, "results[0].loss"},
		"accuracy":      {map[string]string{rundir.ResultsFile: `{"results":[{"task":"passkey","ctx":64,"accuracy":1.5}]}`}, "results[0].accuracy: 1.5"},
		"a cell":        {map[string]string{rundir.ResultsFile: `{"results":[{"task":"passkey","ctx":64,"cells":[{"depth":0.5,"trials":2,"correct":3}]}]}`}, "results[0].cells[0].correct: 3"},
		"configuration": {map[string]string{rundir.MetricsFile: metrics(2), rundir.ConfigFile: strings.Repeat("#", 1<<20+1)}, "longlora.yaml: longer than"},
		"run.json torn": {map[string]string{rundir.MetricsFile: metrics(2), rundir.RecordFile: "{"}, "run.json"},
	} {
		dir := t.TempDir()
		for f, text := range c.files {
			testkit.Write(t, filepath.Join(dir, f), text)
		}
		if _, err := Dir(dir, io.Discard); errs.Code(err) != 4 || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := Dir(filepath.Join(t.TempDir(), "no"), io.Discard); errs.Code(err) != 4 {
		t.Errorf("a missing folder: %v", err)
	}
}

// Of an extend that has not finished its training is shown.
func TestUnfinishedExtend(t *testing.T) {
	dir := t.TempDir()
	testkit.Write(t, filepath.Join(dir, rundir.ExtensionFile), "{}")
	testkit.Write(t, filepath.Join(dir, "adapter", rundir.MetricsFile), metrics(4))
	p, err := Dir(dir, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, written(t, p), "extend has not finished here: this is the training so far", "4 steps", "Throughput")
}

// A page takes the place of a page at most.
func TestCheckFile(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	p := &Page{Title: "longlora report", About: "a run"}
	for range 2 { // the second in the first one's place
		if err := p.Write(page); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"config.json": "{}", "other.html": "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n", "empty": ""} {
		path := filepath.Join(dir, name)
		testkit.Write(t, path, text)
		if err := p.Write(path); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s was written over", name)
		}
	}
	for path, code := range map[string]errs.Kind{dir: errs.Usage, filepath.Join(dir, "nowhere", "p.html"): errs.Data, filepath.Join(page, "p.html"): errs.Data} {
		if err := CheckFile(path); errs.Code(err) != int(code) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Figures that no axis can show still make a page, and stand in its tables and sentences.
func TestExtremeFigures(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		base, last [2]float64
		want       []string
	}{
		{[2]float64{6, inf}, [2]float64{6.5, 7}, []string{"The base fails beyond 256 tokens: its perplexity is 6.00 there and infinite at 1,024.", "<td>infinite</td>", "was infinite (base)"}},
		{[2]float64{inf, inf}, [2]float64{6.5, 7}, []string{"The base does not work: its perplexity is infinite at 256 tokens", "something was lost: perplexity infinite before, 6.50 now; recall 100 % before, 0 % now (100 points fewer)."}},
		{[2]float64{6, 6}, [2]float64{inf, inf}, []string{"After training, the model does not work: its perplexity is infinite at 256 tokens", "something was lost: perplexity 6.00 before, infinite now;"}},
		{[2]float64{6, 1e308}, [2]float64{1, 1e300}, []string{"10³⁰⁸"}},
		{[2]float64{1, math.MaxFloat64}, [2]float64{1, 1}, nil},
	} {
		dir := t.TempDir()
		r := extend.Report{Model: "m", Ctx: 1024, Train: &rundir.Result{Steps: 10}, Lengths: []extend.Length{
			{Ctx: 256, Base: figures(c.base[0], 1), Trained: figures(c.last[0], 5e-324)}, {Ctx: 1024, Base: figures(c.base[1], 1), Trained: figures(c.last[1], 1)},
		}}
		one := 1e4
		for i := range r.Lengths {
			for _, f := range []*eval.Figures{&r.Lengths[i].Base, &r.Lengths[i].Trained} {
				f.Loss = &one
			}
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, filepath.Join(dir, rundir.ReportFile), string(b))
		testkit.Write(t, filepath.Join(dir, "adapter", rundir.MetricsFile), `{"step":1,"loss":5e-324,"grad_norm":2.2e-308,"lr":1e-310,"tokens":1,"tok_per_s":1e-320,"step_s":1}
{"step":2,"loss":3,"grad_norm":1e300,"lr":1,"tokens":1,"tok_per_s":1e308,"step_s":5e-324}
{"step":3,"loss":1e-320,"grad_norm":4e-320,"lr":2e-310,"tokens":1,"tok_per_s":1e-320,"step_s":1}
`)
		p, err := Dir(dir, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		text := written(t, p)
		wants(t, text, c.want...)
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("%v: NaN or Inf in the page", c)
		}
	}
}
