package extend

import (
	"fmt"
	"math"
	"strings"

	"longlora/internal/eval"
)

// What is no loss at the base's own length: a perplexity that is higher by a hundredth at most, and recall that is
// lower by 5 points at most: one passkey of thirty.
const (
	SamePPL    = 0.01
	sameRecall = 0.05
)

// Within reports whether the base reads the new context by itself: no longer length is judged.
func (r Report) Within() bool { return len(r.Lengths) == 1 && r.Lengths[0].Ctx == r.Ctx }

// Kept says what became of the length that the base reads by itself, the first one, and whether anything was lost
// there. It is "" where that length was not judged before and after.
func (r Report) Kept() (words string, lost bool) {
	if len(r.Lengths) < 2 && !r.Within() {
		return "", false
	}
	l := r.Lengths[0]
	was, is := l.Base, l.Trained
	var parts []string
	if was.PPL != nil && is.PPL != nil {
		part := fmt.Sprintf("perplexity %s before, %s now", showPPL(was), showPPL(is))
		if more := float64(*is.PPL)/float64(*was.PPL) - 1; is.PPL.Infinite() && !was.PPL.Infinite() || more > SamePPL {
			lost = true
			if !math.IsInf(more, 0) {
				part += fmt.Sprintf(" (%.1f %% higher)", 100*more)
			}
		}
		parts = append(parts, part)
	}
	if was.Accuracy != nil && is.Accuracy != nil {
		part := fmt.Sprintf("recall %s before, %s now", showRecall(was), showRecall(is))
		if fewer := *was.Accuracy - *is.Accuracy; fewer > sameRecall {
			lost = true
			part += fmt.Sprintf(" (%.0f points fewer%s)", 100*fewer, wrote(is.Missed))
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return "", false
	}
	verdict := "nothing was lost"
	if lost {
		verdict = "something was lost"
	}
	all := "all that"
	if r.Within() {
		all = "which"
	}
	return fmt.Sprintf("At %d tokens, %s the base reads by itself, %s: %s.",
		l.Ctx, all, verdict, strings.Join(parts, "; ")), lost
}

// wrote is what the model wrote instead of the first passkey that it missed: it may have found none, or want to say
// something else.
func wrote(missed []eval.Miss) string {
	if len(missed) == 0 {
		return ""
	}
	return fmt.Sprintf("; it wrote %q where %q was asked for", strings.TrimSpace(missed[0].Text),
		strings.TrimSpace(missed[0].Answer))
}

// ByTraining reports whether it is training that lost something at the base's own length: there the new positions alone
// are ahead of what was trained.
func (r Report) ByTraining() bool {
	before, now := r.Lengths[0].Interpolated, r.Lengths[0].Trained
	ppl := before.PPL != nil && now.PPL != nil && *now.PPL > *before.PPL
	return ppl || before.Accuracy != nil && now.Accuracy != nil && *before.Accuracy-*now.Accuracy > sameRecall
}

func showPPL(f Figures) string {
	if f.PPL == nil {
		return "-"
	}
	return f.PPL.Digits(2)
}

func showRecall(f Figures) string {
	if f.Accuracy == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100**f.Accuracy)
}
