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
		lost    bool
	}{
		{[2]float64{7, 0.9}, [2]float64{6, 1}, "nothing was lost: perplexity 7.00 before, 6.00 now; recall 90 % before, 100 % now.", false},
		{[2]float64{7, 0.9}, [2]float64{7.06, 0.86}, "nothing was lost", false},
		{[2]float64{10, 0.9}, [2]float64{10.5, 0.9}, "something was lost: perplexity 10.00 before, 10.50 now (5.0 % higher); recall 90 % before, 90 % now.", true},
		{[2]float64{7, 1}, [2]float64{6, 0.8}, "something was lost: perplexity 7.00 before, 6.00 now; recall 100 % before, 80 % now (20 points fewer).", true},
		{[2]float64{7, none}, [2]float64{math.Inf(1), none}, "something was lost: perplexity 7.00 before, infinite now.", true},
		{[2]float64{math.Inf(1), none}, [2]float64{math.Inf(1), none}, "nothing was lost: perplexity infinite before, infinite now.", false},
		{[2]float64{none, 0.5}, [2]float64{none, 0.5}, "nothing was lost: recall 50 % before, 50 % now.", false},
		{[2]float64{none, none}, [2]float64{7, 1}, "", false},
	} {
		r := extend.Report{Ctx: 512, Lengths: []extend.Length{{Ctx: 128, Base: figures(c.was[0], c.was[1]), Trained: figures(c.is[0], c.is[1])}, {Ctx: 512}}}
		got, lost := r.Kept()
		if c.want != "" {
			c.want = "At 128 tokens, all that the base reads by itself, " + c.want
		}
		if !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") || lost != c.lost {
			t.Errorf("%v to %v: %q, lost %v; want %q", c.was, c.is, got, lost, c.want)
		}
		r.Lengths = r.Lengths[:1]
		if got, lost := r.Kept(); got != "" || lost {
			t.Errorf("one length: %q", got)
		}
	}
}
