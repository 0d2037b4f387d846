package plan

import (
	"slices"
	"strconv"
	"strings"

	"longlora/internal/config"
	"longlora/internal/errs"
)

// Request is work as options ask for it, and what else they could ask for.
type Request struct {
	Ctx    int
	At     func(ctx int) (Work, error)   // what is asked, at a context
	Less   []Less                        // what could be asked in its place, the least change first
	To     func(ctx int) []config.Change // what asks for a context; nil where no option does
	Values *config.Values                // the command line
}

// Less is a request after some changes of options, which take less memory.
type Less struct {
	Changes []config.Change
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
		_, err = p.refuse(err, r)
	}
	return pl, err
}

// advice is what to do about work that does not fit.
type advice struct {
	longest int    // context that fits as asked, 0 for none
	command string // the whole command line that fits, "" for none
}

// refuse completes a refusal by what fits in the place of what is asked, with the least change. The options are changed
// one by one, then together; then contexts are shortened.
func (p Planner) refuse(refusal error, r Request) (a advice, err error) {
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
			a.command = r.Values.Command(l.Changes...)
			return a, errs.NoFitf("%w. What fits, with %s%s: %s", refusal, said(l.Changes), asAsked(a.longest), a.command)
		}
	}
	if a.longest > 0 {
		a.command = r.command(a.longest)
		return a, errs.NoFitf("%w; the longest context that fits is %d%s. For more raise %s", refusal, a.longest, after(a.command), p.raise())
	}
	if len(r.Less) == 0 {
		return a, errs.NoFitf("%w; no context fits, however short: use a smaller model or another machine, or raise %s", refusal, p.raise())
	}
	most := r.Less[len(r.Less)-1]
	n, err := p.longest(most.At)
	if err != nil {
		return a, err
	}
	if n > 0 {
		a.command = r.command(n, most.Changes...)
		return a, errs.NoFitf("%w. What fits, with %s, is at most %d tokens%s", refusal, said(most.Changes), n, after(a.command))
	}
	return a, errs.NoFitf("%w; no context fits, however short, and training less does not help: use a smaller model or another machine, or raise %s", refusal, p.raise())
}

// command is the command line that asks for a context, after other changes; "" where no option asks for it.
func (r Request) command(ctx int, more ...config.Change) string {
	if r.To == nil {
		return ""
	}
	to := r.To(ctx)
	if to == nil {
		return ""
	}
	return r.Values.Command(slices.Concat(more, to)...)
}

// after is a command after what it is for.
func after(command string) string {
	if command == "" {
		return ""
	}
	return ": " + command
}

func asAsked(longest int) string {
	if longest == 0 {
		return ""
	}
	return " (as asked, the longest context that fits is " + strconv.Itoa(longest) + ")"
}

// said are changes as they are written on a command line.
func said(changes []config.Change) string {
	var words []string
	for _, c := range changes {
		words = append(words, "--"+c.Option+"="+c.Value)
	}
	return strings.Join(words, " ")
}
