package extend_test

import (
	"math"
	"strings"
	"testing"

	"longlora/internal/eval"
	"longlora/internal/extend"
)

// What is said of the base's own length follows from its figures before and after.
func TestKept(t *testing.T) {
	none := math.NaN()
	figures := func(ppl, recall float64) (f eval.Figures) {
		if p := eval.PPL(ppl); !math.IsNaN(ppl) {
			f.PPL = &p
		}
		if !math.IsNaN(recall) {
			f.Accuracy = &recall
		}
		return f
	}
	for _, c := range []struct {
		was, is [2]float64
		want    string
	}{
		{[2]float64{7, 0.9}, [2]float64{6, 1}, "nothing: perplexity 7.00 before, 6.00 now; recall 90 % before, 100 % now."},
		{[2]float64{7, 0.9}, [2]float64{7.06, 0.86}, "nothing: perplexity 7.00 before, 7.06 now; recall 90 % before, 86 % now."},
		{[2]float64{10, 0.9}, [2]float64{10.5, 0.9},
			"something: perplexity 10.00 before, 10.50 now (5.0 % higher); recall 90 % before, 90 % now."},
		{[2]float64{7, 1}, [2]float64{6, 0.8},
			"something: perplexity 7.00 before, 6.00 now; recall 100 % before, 80 % now (20 points fewer)."},
		{[2]float64{7, none}, [2]float64{math.Inf(1), none}, "something: perplexity 7.00 before, infinite now."},
		{[2]float64{math.Inf(1), none}, [2]float64{math.Inf(1), none}, "nothing: perplexity infinite before, infinite now."},
		{[2]float64{none, 0.5}, [2]float64{none, 0.5}, "nothing: recall 50 % before, 50 % now."},
		{[2]float64{none, none}, [2]float64{7, 1}, ""},
	} {
		r := extend.Report{Ctx: 512, Lengths: []extend.Length{{Ctx: 128}, {Ctx: 512}}}
		r.Lengths[0].Base, r.Lengths[0].Trained = figures(c.was[0], c.was[1]), figures(c.is[0], c.is[1])
		want := c.want
		if what, figures, ok := strings.Cut(want, ":"); ok {
			want = "At 128 tokens, all that the base reads by itself, " + what + " was lost:" + figures
		}
		if got, lost := r.Kept(); got != want || lost != strings.HasPrefix(c.want, "something") {
			t.Errorf("%v to %v: %q, lost %v; want %q", c.was, c.is, got, lost, want)
		}
		r.Lengths[0].Trained.Missed = []eval.Miss{{Answer: " 31452", Text: " a key that"}, {Answer: " 7", Text: " 8"}}
		want = strings.Replace(want, "points fewer)", `points fewer; it wrote "a key that" where "31452" was asked for)`, 1)
		if got, _ := r.Kept(); got != want {
			t.Errorf("%v to %v, of which some were missed: %q; want %q", c.was, c.is, got, want)
		}
		r.Lengths = r.Lengths[:1]
		if got, lost := r.Kept(); got != "" || lost {
			t.Errorf("one length: %q", got)
		}
	}
}

// Less of the training helps where the new positions alone are ahead of what was trained, and only there.
func TestByTraining(t *testing.T) {
	for _, c := range []struct {
		before, now [2]float64 // perplexity and recall
		want        bool
	}{
		{[2]float64{15.88, 1}, [2]float64{15.54, 1}, false},
		{[2]float64{12.35, 1}, [2]float64{13.49, 1}, true},
		{[2]float64{15.88, 1}, [2]float64{15.54, 0.5}, true},
		{[2]float64{15.88, 1}, [2]float64{15.54, 0.97}, false},
		{[2]float64{math.Inf(1), 0}, [2]float64{12, 0}, false},
	} {
		figures := func(x [2]float64) eval.Figures {
			ppl := eval.PPL(x[0])
			return eval.Figures{PPL: &ppl, Accuracy: &x[1]}
		}
		r := extend.Report{Lengths: []extend.Length{{Interpolated: figures(c.before), Trained: figures(c.now)}}}
		if got := r.ByTraining(); got != c.want {
			t.Errorf("%v to %v: %v", c.before, c.now, got)
		}
	}
}
