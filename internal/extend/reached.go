package extend

import (
	"fmt"
	"strings"
)

// A length counts as reached while the model does there nearly as well as the base does at the length that it reads by
// itself: its perplexity is higher by a tenth at most, and it finds nine tenths of what the base finds, or more.
const (
	NearPPL    = 1.1
	nearRecall = 0.9
)

// measure is a figure that says how well a model reads a length.
type measure struct {
	name string
	show func(Figures) string
	fit  func(own Figures) bool     // to compare with
	near func(own, is Figures) bool // both are known
	has  func(Figures) bool
}

var measures = []measure{
	{"perplexity", showPPL,
		func(own Figures) bool { return !own.PPL.Infinite() },
		func(own, is Figures) bool { return !is.PPL.Infinite() && *is.PPL <= NearPPL**own.PPL },
		func(f Figures) bool { return f.PPL != nil }},
	{"recall", showRecall,
		func(own Figures) bool { return *own.Accuracy > 0 },
		func(own, is Figures) bool { return *is.Accuracy >= nearRecall**own.Accuracy },
		func(f Figures) bool { return f.Accuracy != nil }},
}

// Reach is how far the base was extended by one measure.
type Reach struct {
	Measure string // perplexity or recall
	To      int    // tokens; 0: not beyond the base's own length
}

// Reaches are those of the measures that say it: see Reached.
func (r Report) Reaches() (out []Reach) {
	for _, m := range measures {
		if to, words := r.reached(m); words != "" {
			out = append(out, Reach{m.name, to})
		}
	}
	return out
}

// Reached says up to which length the base was extended, by which measure. It is "" where none says it: no longer
// length was judged, or the base does not work at its own.
func (r Report) Reached() string {
	var to, not []string
	for _, m := range measures {
		if far, words := r.reached(m); far > 0 {
			to = append(to, words)
		} else if words != "" {
			not = append(not, words)
		}
	}
	switch {
	case len(to) == 0 && len(not) == 0:
		return ""
	case len(to) == 0:
		return "Not extended " + strings.Join(not, " nor ") + "."
	case len(not) > 0:
		to = append(to, "not "+strings.Join(not, " nor "))
	}
	return "Extended " + strings.Join(to, ", ") + "."
}

// reached says it by one measure: how far beyond the first length all are reached, with the figure at the last of them
// or at the first that is not.
func (r Report) reached(m measure) (far int, words string) {
	if len(r.Lengths) == 0 {
		return 0, ""
	}
	first := r.Lengths[0]
	if !m.has(first.Base) || !m.fit(first.Base) {
		return 0, ""
	}
	base := fmt.Sprintf("the base has %s at %d", m.show(first.Base), first.Ctx)
	for _, l := range r.Lengths {
		switch {
		case !m.has(l.Trained):
		case !m.near(first.Base, l.Trained):
			words = fmt.Sprintf("by %s (%s at %d; %s)", m.name, m.show(l.Trained), l.Ctx, base)
			if far > 0 {
				words = fmt.Sprintf("to %d tokens %s", far, words)
			}
			return far, words
		case l.Ctx > first.Ctx:
			far, words = l.Ctx, fmt.Sprintf("to %d tokens by %s (%s there; %s)", l.Ctx, m.name, m.show(l.Trained), base)
		}
	}
	return far, words
}
