package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"longlora/internal/extend"
)

// sayQuality puts models' figures in words.
func sayQuality(js []*judged) (out []string) {
	for _, j := range js {
		if s := sayPerplexity(j); s != "" {
			out = append(out, s)
		}
	}
	for _, task := range tasks(js) {
		at := lengths(js, func(j *judged) []atLength { return j.recall[task] })
		for _, n := range slices.Compact([]int{at[0], at[len(at)-1]}) {
			var found []string
			for _, j := range js {
				if v, ok := find(j.recall[task], n); ok {
					found = append(found, fmt.Sprintf("%s %s", j.name, percent(v)))
				}
			}
			out = append(out, fmt.Sprintf("Found at %s tokens in the %s task: %s.", thousands(int64(n)), task,
				strings.Join(found, ", ")))
		}
	}
	return out
}

// A model fails at the first length where its perplexity is more than fails times that at its shortest length.
const (
	fails  = 2
	steady = 1.1
)

// sayPerplexity says how a model's perplexity goes with the length.
func sayPerplexity(j *judged) string {
	if len(j.ppl) == 0 {
		return ""
	}
	first := j.ppl[0]
	tokens := func(n int) string { return thousands(int64(n)) }
	if len(j.ppl) == 1 {
		return fmt.Sprintf("%s has a perplexity of %s at %s tokens.", j.subject, showPPL(first.v), tokens(first.ctx))
	}
	if math.IsInf(first.v, 1) {
		return fmt.Sprintf("%s does not work: its perplexity is infinite at %s tokens, the shortest length measured.",
			j.subject, tokens(first.ctx))
	}
	worst, end := first, j.ppl[len(j.ppl)-1]
	for _, a := range j.ppl {
		if a.v > worst.v {
			worst = a
		}
	}
	for i, a := range j.ppl {
		if before := j.ppl[max(0, i-1)]; a.v > fails*first.v {
			return fmt.Sprintf("%s fails beyond %s tokens: its perplexity is %s there and %s at %s.",
				j.subject, tokens(before.ctx), showPPL(before.v), showPPL(worst.v), tokens(worst.ctx))
		}
	}
	switch ratio := worst.v / first.v; {
	case ratio > steady:
		return fmt.Sprintf("%s gets worse with length: its perplexity is %s at %s tokens and %s at %s.",
			j.subject, showPPL(first.v), tokens(first.ctx), showPPL(worst.v), tokens(worst.ctx))
	case worst == first:
		return fmt.Sprintf("%s holds up to %s tokens: its perplexity is %s at %s and %s at %s, and nowhere higher than at "+
			"the first.",
			j.subject, tokens(end.ctx), showPPL(first.v), tokens(first.ctx), showPPL(end.v), tokens(end.ctx))
	default:
		return fmt.Sprintf("%s holds up to %s tokens: its perplexity, %s at %s, stays within %s %% of that.",
			j.subject, tokens(end.ctx), showPPL(first.v), tokens(first.ctx), upTo(ratio-1))
	}
}

// upTo is a share in percent, rounded up so that it bounds it.
func upTo(share float64) string {
	p := int(100 * share)
	if float64(p) < 100*share {
		p++
	}
	return fmt.Sprint(p)
}

// sayTraining compares extend's columns: what training brought at the new length and cost at the base's own.
func sayTraining(r *extend.Report, js []*judged) (out []string) {
	base, between, last := js[0], js[1], js[2]
	if n := len(last.ppl); n > 0 {
		end := last.ppl[n-1]
		var from []string
		if v, ok := find(base.ppl, end.ctx); ok {
			from = append(from, showPPL(v)+" (base)")
		}
		if v, ok := find(between.ppl, end.ctx); ok {
			from = append(from, showPPL(v)+" (interpolated)")
		}
		if len(from) > 0 && r.Train != nil {
			out = append(out, fmt.Sprintf("At %s tokens the perplexity was %s before training; now it is %s.",
				thousands(int64(end.ctx)), strings.Join(from, " and "), showPPL(end.v)))
		}
	}
	kept, _ := r.Kept()
	for _, s := range []string{r.Reached(), kept} {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
