package report

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"longlora/internal/eval"
	"longlora/internal/extend"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// The verdict says by which measure the goal was reached, and how the model stands to the base there and at its own
// length.
func TestVerdict(t *testing.T) {
	at := func(ctx int, base, trained, baseFound, found float64) extend.Length {
		return extend.Length{Ctx: ctx, Base: figures(base, baseFound), Interpolated: figures(50, .5), Trained: figures(trained, found)}
	}
	for _, c := range []struct {
		goal             extend.Length
		untrained        bool
		kind, head, text string
	}{
		{at(1024, 900, 6.5, 0, 1), false, "good", "Extended to 1,024 tokens", "6.50, better than the base there (900) and better than the base at its own 256 (6.60)."},
		{at(1024, 6.61, 6.6, 1, 1), false, "good", "Extended to 1,024 tokens", "6.60, as good as the base there (6.61) and as good as the base at its own 256 (6.60)."},
		{at(1024, 900, 7, 0, 1), true, "good", "Extended to 1,024 tokens, by new positions alone", "nearly as good as the base at its own 256"},
		{at(1024, 900, 30, 0, 1), false, "part", "Extended in part: to 1,024 tokens by recall", "30.00, better than the base there (900) and worse than the base at its own 256 (6.60)."},
		{at(1024, 20, 30, 0, .1), false, "bad", "Not extended to 1,024 tokens", "30.00, worse than the base there (20.00) and worse than"},
		{extend.Length{Ctx: 1024}, false, "plain", "Not judged", "No perplexity was measured at the new length."},
	} {
		r := extend.Report{Ctx: 1024, Train: &rundir.Result{Steps: 3}, Lengths: []extend.Length{at(256, 6.6, 6.6, 1, 1), c.goal}}
		if c.untrained {
			r.Train = nil
		}
		v := verdict(&r)
		if v.Kind != c.kind || v.Head != c.head || !strings.Contains(v.Text, c.text) || v.Sign() == "" {
			t.Errorf("%+v, want %s, %q, %q", v, c.kind, c.head, c.text)
		}
	}
}

// What was lost at the base's own length is said with the verdict: it may be why the new length does not count.
func TestVerdictLoss(t *testing.T) {
	r := extend.Report{Ctx: 1024, Train: &rundir.Result{Steps: 3}, Lengths: []extend.Length{
		{Ctx: 256, Base: figures(8, 1), Trained: figures(12, .5)}, {Ctx: 1024, Base: figures(500, 0), Trained: figures(7.5, 1)}}}
	const lost = "better than the base at its own 256 (8.00). At 256 tokens, all that the base reads by itself, something was lost: " +
		"perplexity 8.00 before, 12.00 now (50.0 % higher); recall 100 % before, 50 % now (50 points fewer)."
	if v := verdict(&r); v.Head != "Not extended to 1,024 tokens" || !strings.HasSuffix(v.Text, lost) {
		t.Errorf("%+v", v)
	}
}

// Where the base reads the context by itself the verdict says so, and whether anything was lost.
func TestVerdictWithin(t *testing.T) {
	for trained, kind := range map[float64]string{6.5: "plain", 7: "part"} {
		r := extend.Report{Ctx: 256, Train: &rundir.Result{Steps: 3},
			Lengths: []extend.Length{{Ctx: 256, Base: figures(6.6, 1), Interpolated: figures(6.6, 1), Trained: figures(trained, 1)}}}
		if v := verdict(&r); v.Kind != kind || v.Head != "Nothing to extend: the base reads 256 tokens by itself" || !strings.Contains(v.Text, "the base there (6.60)") {
			t.Errorf("%g: %+v", trained, v)
		}
	}
}

// Losses that all runs have at one step are bars; at several steps, curves.
func TestAtSteps(t *testing.T) {
	var s Section
	one := []series{{Name: "a", X: []float64{60}, Y: []float64{2}}, {Name: "b", X: []float64{60}, Y: []float64{1}}}
	if s.atSteps("Validation", one); len(s.Bars) != 1 || s.Bars[0].Title != "Validation at step 60" || s.Bars[0].Bars[1] != (Bar{"b", "1.0000", 2, 50}) {
		t.Errorf("%+v", s)
	}
	one[1].X[0], s = 40, Section{}
	if s.atSteps("Validation", one); len(s.Bars) != 0 || len(s.Figures) != 1 {
		t.Errorf("%+v", s)
	}
}

// A curve's first value stands clear of the curve: below it where it rises, above where it falls; where there is no
// room near it, nowhere.
func TestFirst(t *testing.T) {
	label := regexp.MustCompile(`<text class="e1" x="[0-9.]+" y="([0-9.]+)">2.5</text>`)
	for _, c := range []struct {
		ys   []float64
		side float64 // of the point; 0: no label
	}{{[]float64{2.5, 2.6, 2.7, 1, 4}, 1}, {[]float64{2.5, 2.4, 2.3, 1, 4}, -1}, {[]float64{2.5, 2, 1, 1, 1}, -1}, {[]float64{2.5, 4, 1, 1, 4}, 0}} {
		s := series{Name: "a", X: []float64{1, 2, 3, 50, 100}, Y: c.ys}
		f, _ := chart("x", axes{Wide: true}, s)
		d, side := newDrawing(f, axes{Wide: true}, []series{s}), 0.0
		if found := label.FindStringSubmatch(string(f.Body)); found != nil {
			y, _ := strconv.ParseFloat(found[1], 64)
			side = math.Copysign(1, y-d.py(2.5))
			for _, v := range c.ys[:3] {
				if at := d.py(v); at > y-line+4 && at < y-1 {
					t.Errorf("%v: the label at %g lies on %g, at %g", c.ys, y, v, at)
				}
			}
		}
		if side != c.side {
			t.Errorf("%v: side %g, want %g", c.ys, side, c.side)
		}
	}
}

// What was judged, and how, is named in a line.
func TestJudgedOn(t *testing.T) {
	r := extend.Report{Protocol: "longlora", Stride: 256}
	if err := json.Unmarshal([]byte(`{"data":["books/a.txt"],"eval-limit":32,"trials":3,"depths":10,"seed":5}`), &r.Options); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(judgedOn(&r, time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)), " ")
	want := "Perplexity on the held-out end of a.txt, never trained on: 32 windows a length, longlora protocol, stride 256, full attention. " +
		"Passkeys: 10 depths × 3 trials a length. Seed 5; 1 March 2026, 12:30."
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// A run says whether something is at work in its folder, and how far it is.
func TestState(t *testing.T) {
	dir := borderedRun(t, 10, 0, 4, "")
	head := func() string {
		r, err := readTraining(dir)
		if err != nil {
			t.Fatal(err)
		}
		return r.state().Head
	}
	if got := head(); got != "Not finished: 4 of 10 steps; the same command goes on" {
		t.Error(got)
	}
	lock, err := files.Lock(dir, "busy")
	if err != nil {
		t.Fatal(err)
	}
	if got := head(); got != "Running: 4 of 10 steps" && files.Held(dir) {
		t.Error(got)
	}
	lock.Release()
	if files.Held(dir) {
		t.Error("a free folder is said to be held")
	}
	for n, want := range map[int]string{4: "Finished: 4 steps", 1: "Finished: 1 step"} {
		dir = borderedRun(t, n, 0, n, "")
		if got := head(); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// Models are compared at the longest length that all have; one is described alone.
func TestStanding(t *testing.T) {
	js := models([]eval.Result{{Task: "passkey", Model: "a", Ctx: 256, Accuracy: new(float64)}, {Task: "passkey", Model: "b", Ctx: 256, Accuracy: ptr(1)},
		{Task: "passkey", Model: "b", Ctx: 512, Accuracy: ptr(.5)}})
	if v := standing(js); v.Head != "b has the largest share found in the passkey task at 256 tokens" || v.Text != "a 0 %, b 100 %." {
		t.Errorf("%+v", v)
	}
	js[0].addPPL(256, 9, nil)
	js[1].addPPL(256, 10, nil)
	if v := standing(js); v.Head != "a has the lowest perplexity at 256 tokens" || v.Text != "a 9.00, b 10.00." {
		t.Errorf("%+v", v)
	}
	js[1].ppl[0].v = 9.001 // which is shown as the same
	if v := standing(js); v.Head != "All have the same perplexity at 256 tokens" {
		t.Errorf("%+v", v)
	}
	js = append(js, &judged{name: "c"})
	if js[2].addPPL(256, 99, nil); standing(js).Head != "a and b have the lowest perplexity at 256 tokens" {
		t.Errorf("%+v", standing(js))
	}
	if v := standing(js[:1]); v.Head != "Has a perplexity of 9.00 at 256 tokens" || v.Text != "a, which finds 0 % in the passkey task at 256 tokens." {
		t.Errorf("%+v", v)
	}
}

func ptr(v float64) *float64 { return &v }

// Where there is one length, its values are bars.
func TestBars(t *testing.T) {
	js := []*judged{{name: "a", style: 1}, {name: "b", style: 2}}
	js[0].addPPL(512, 20, nil)
	js[1].addPPL(512, 5, nil)
	s := quality(js)
	if len(s.Bars) != 1 || s.Bars[0].Title != "Perplexity at 512 tokens (lower is better)" || s.Bars[0].Bars[0] != (Bar{"a", "20.00", 1, 100}) ||
		s.Bars[0].Bars[1] != (Bar{"b", "5.00", 2, 25}) || len(s.Figures) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLarge(t *testing.T) {
	for v, want := range map[float64]string{999_999: "999,999", 1e6: "1 million", 2.345e9: "2.35 billion", 7e13: "70 trillion", 1e16: "10¹⁶"} {
		if got := showPPL(v); got != want {
			t.Errorf("%g: %s, want %s", v, got, want)
		}
	}
}
