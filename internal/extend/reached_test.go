package extend_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"longlora/internal/eval"
	"longlora/internal/extend"
)

// The base's figures at 128 tokens, the trained model's at 128, 256 and 512 (perplexity/recall, - where not judged), and
// the verdict.
const verdicts = `
7/0.9   7/1     6.5/0.9  7.7/0.81  Extended to 512 tokens by perplexity (7.70 there; the base has 7.00 at 128), to 512 tokens by recall (81 % there; the base has 90 % at 128).
7/0.9   7/1     7/0.9    7.8/0.8   Extended to 256 tokens by perplexity (7.80 at 512; the base has 7.00 at 128), to 256 tokens by recall (80 % at 512; the base has 90 % at 128).
7/0.9   7/1     6/0.3    6/0.9     Extended to 512 tokens by perplexity (6.00 there; the base has 7.00 at 128), not by recall (30 % at 256; the base has 90 % at 128).
7/0.9   7/0.5   9/0.9    6/0.9     Not extended by perplexity (9.00 at 256; the base has 7.00 at 128) nor by recall (50 % at 128; the base has 90 % at 128).
7/-     7/-     inf/-    6/-       Not extended by perplexity (infinite at 256; the base has 7.00 at 128).
7/-     7/-     -/-      6/-       Extended to 512 tokens by perplexity (6.00 there; the base has 7.00 at 128).
7/0     7/1     7/1      7/1       Extended to 512 tokens by perplexity (7.00 there; the base has 7.00 at 128).
inf/0   7/1     7/1      7/1
7/0.9   7/0.9   -/-      -/-
-/-     7/0.9   7/0.9    7/0.9
`

func TestReached(t *testing.T) {
	figures := func(s string) (f eval.Figures) {
		ppl, recall, _ := strings.Cut(s, "/")
		var v float64
		if _, err := fmt.Sscan(ppl, &v); err == nil {
			p := eval.PPL(v)
			f.PPL = &p
		} else if ppl == "inf" {
			p := eval.PPL(math.Inf(1))
			f.PPL = &p
		}
		if _, err := fmt.Sscan(recall, &v); err == nil {
			f.Accuracy = &v
		}
		return f
	}
	for line := range strings.Lines(strings.TrimSpace(verdicts)) {
		at := strings.Fields(line)
		r := extend.Report{Ctx: 512, Lengths: []extend.Length{{Ctx: 128, Base: figures(at[0]), Trained: figures(at[1])},
			{Ctx: 256, Trained: figures(at[2])}, {Ctx: 512, Trained: figures(at[3])}}}
		if got, want := r.Reached(), strings.Join(at[4:], " "); got != want {
			t.Errorf("%v:\n%s, want\n%s", at[:4], got, want)
		}
	}
	if got := (extend.Report{}).Reached(); got != "" {
		t.Errorf("nothing judged: %q", got)
	}
}
