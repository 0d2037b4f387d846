package plan

import (
	"slices"
	"strconv"

	"longlora/internal/errs"
)

// Request is work as options ask for it, and what else they could ask for.
type Request struct {
	Ctx  int
	At   func(ctx int) (Work, error) // what is asked, at a context
	Less []Less                      // what could be asked in its place, the least change first
	To   func(ctx int) errs.Advice   // what asks for a context; nil, or gives nil, where no option does
}

// Less is a request after some changes of options, which take less memory.
type Less struct {
	Changes errs.Advice
	At      func(ctx int) (Work, error)
}

// Plan plans what is asked. Where it does not fit the refusal, of kind NoFit, says what would: see refuse.
func (p Planner) Plan(r Request) (Plan, error) {
	w, err := r.At(r.Ctx)
	if err != nil {
		return Plan{}, err
	}
	pl, err := p.choose(w)
	if errs.Code(err) == int(errs.NoFit) {
		_, err = p.refuse(err, pl, r)
	}
	return pl, err
}

// advice is what to do about work that does not fit.
type advice struct {
	longest int         // context that fits as asked, 0 for none
	changes errs.Advice // of the command, after which it fits; nil for none
}

// refuse completes a refusal by what fits in the place of what is asked, with the least change. The options are changed
// one by one, then together; then contexts are shortened. least is the smallest plan of what is asked.
func (p Planner) refuse(refusal error, least Plan, r Request) (a advice, err error) {
	raise := p.raise(least)
	p = p.another()
	if a.longest, err = p.longest(r.At); err != nil {
		return a, err
	}
	for _, l := range r.Less {
		w, err := l.At(r.Ctx)
		if err != nil {
			return a, err
		}
		fits, err := p.fits(w)
		if err != nil {
			return a, err
		}
		if fits {
			a.changes = l.Changes
			return a, errs.NoFitf("%w. What fits, with %s%s: %w", refusal, l.Changes.String(), asAsked(a.longest), a.changes)
		}
	}
	if a.longest > 0 {
		if a.changes = r.to(a.longest); a.changes == nil {
			return a, errs.NoFitf("%w; the longest context that fits is %d. For %d tokens %s", refusal, a.longest, r.Ctx,
				raise)
		}
		return a, errs.NoFitf("%w; the longest context that fits is %d: %w. For %d tokens %s", refusal, a.longest,
			a.changes, r.Ctx, raise)
	}
	if len(r.Less) == 0 {
		return a, errs.NoFitf("%w; no context fits, however short: use a smaller model or another machine, or %s",
			refusal, raise)
	}
	most := r.Less[len(r.Less)-1]
	n, err := p.longest(most.At)
	if err != nil {
		return a, err
	}
	if n > 0 {
		a.changes = slices.Concat(most.Changes, r.to(n))
		return a, errs.NoFitf("%w. What fits, with %s, is at most %d tokens: %w", refusal, most.Changes.String(), n,
			a.changes)
	}
	return a, errs.NoFitf("%w; no context fits, however short, and training less does not help: use a smaller model or "+
		"another machine, or %s", refusal, raise)
}

// to are the changes that ask for a context; nil where no option asks for it.
func (r Request) to(ctx int) errs.Advice {
	if r.To == nil {
		return nil
	}
	return r.To(ctx)
}

func asAsked(longest int) string {
	if longest == 0 {
		return ""
	}
	return " (as asked, the longest context that fits is " + strconv.Itoa(longest) + ")"
}
