package cli

import (
	"fmt"
	"os"
	"strconv"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/plan"
	"longlora/internal/ui"
)

// Ranks are the processes that train together: those that a launcher started, this one being one of them, or those that
// the options ask for. A launcher's group has a Place of more than one rank; otherwise all is --gpus all, and n so many
// processes that this one is to start, 1 for none.
func (v *Values) Ranks() (p dist.Place, n int, all bool, err error) {
	if p, err = v.Launched(); err != nil {
		return p, 0, false, err
	}
	text := v.text("gpus")
	n, _ = strconv.Atoi(text)
	if p.Size == 1 {
		if v.cardNamed() && text != "1" {
			return p, 0, false, errs.Usagef("--gpus %s takes the first GPUs, one a process, and --device %s names one; give "+
				"--device cuda, or leave --gpus out", text, v.text("device"))
		}
		if text == "all" {
			return p, n, true, nil
		}
		if err = dist.CheckSize(n); err == nil { // first: other mends are for as many as can be
			err = v.divides(n, "--gpus "+text)
		}
		return p, n, false, err
	}
	if !p.Launched && v.Given("gpus") {
		return p, 0, false, errs.Usagef("--gpus %s starts processes, and this one was started as rank %d of %d already "+
			"(%s); leave --gpus out", text, p.Rank, p.Size, p.By)
	}
	return p, 1, false, v.divides(p.Size, fmt.Sprintf("%d processes (%s)", p.Size, p.By))
}

// Launched is the place that a launcher gave this process; of a group of one where there is none.
func (v *Values) Launched() (dist.Place, error) {
	p, err := dist.FromEnvironment(os.Getenv)
	if err == nil && p.Size > 1 && v.cardNamed() {
		err = errs.Usagef("--device %s: the group's processes (%s) take one GPU each, by their number; give --device cuda",
			v.text("device"), p.By)
	}
	return p, err
}

// planned is how many processes are planned for.
func (v *Values) planned() (int, error) {
	n, err := strconv.Atoi(v.text("gpus"))
	if err != nil {
		return 0, errs.Usagef("%s all: plan does not count GPUs; give a number", v.by("gpus"))
	}
	return n, v.divides(n, v.by("gpus")+" "+v.text("gpus"))
}

// Chain is how many processes divide a row.
func (v *Values) Chain() int { return v.whole("sequence-ranks") }

// cardNamed reports whether --device names one GPU.
func (v *Values) cardNamed() bool {
	kind, index, _ := parseDevice(v.text("device"))
	return kind == "cuda" && v.text("device") != kind && index >= 0
}

// Divides refuses a number of processes that do not share the rows of a step evenly.
func (v *Values) Divides(n int) error {
	return v.divides(n, fmt.Sprintf("--gpus %s, %d processes", v.text("gpus"), n))
}

// divides refuses a number of processes that are no whole chains, or whose chains do not share the rows evenly.
func (v *Values) divides(n int, who string) error {
	s := v.Chain()
	switch {
	case s > 1 && n == 1:
		return errs.Usagef("--sequence-ranks %d divides each row among %d processes, and this is one; give --gpus %d too, "+
			"or start as many by a launcher", s, s, s)
	case n%s != 0:
		return errs.Usagef("%s: they are no whole number of chains of %d processes, --sequence-ranks %d; give a divisor "+
			"of their number", who, s, s)
	}
	n /= s
	them := "them"
	if s > 1 {
		them = fmt.Sprintf("their %d chains", n)
	}
	batch, more := v.whole("batch"), func(rows int) string { return strconv.Itoa((rows + n - 1) / n * n) }
	if v.option("accum") == nil { // bench: as many rows as chains, where nobody says how many
		if n > 1 && v.Given("batch") && batch%n != 0 {
			return errs.Usagef("%s: the %s of a step, --batch %d, can not be shared evenly among %s; what works: %w",
				who, ui.Count(batch, "row"), batch, them, errs.Advice{{Option: "batch", Value: more(batch)}})
		}
		return nil
	}
	accum := v.whole("accum")
	if rows := batch * accum; n > 1 && rows%n != 0 {
		return errs.Usagef("%s: the %s of a step, --batch %d times --accum %d, can not be shared evenly among %s; "+
			"what works: %w", who, ui.Count(rows, "row"), batch, accum, them,
			errs.Advice{{Option: "accum", Value: more(accum)}})
	}
	return nil
}

// dividing refuses what a chain does not do to a row that it divides.
func (v *Values) dividing(o plan.Training) error {
	switch {
	case o.Chain == 1:
	case o.Rolls():
		return errs.Usagef("%s roll wraps a row round, and %s %d divides it; leave one out", v.by("shift"),
			v.by("sequence-ranks"), o.Chain)
	case o.Chain > o.Ctx:
		return errs.Usagef("--sequence-ranks %d: a row of --ctx %d has fewer tokens", o.Chain, o.Ctx)
	}
	return nil
}
