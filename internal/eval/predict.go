package eval

import (
	"context"
	"fmt"
	"io"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/ops"
	"longlora/internal/proc"
	"longlora/internal/ui"
)

// Predict says how many seconds an evaluation of one model will take from its beginning, without loading its weights.
// What Run would refuse before it computes is refused.
func Predict(ctx context.Context, cfg Job, be ops.Backend, log io.Writer) (seconds float64, err error) {
	words, hay, err := cfg.texts(log)
	if err != nil {
		return 0, err
	}
	e := &evaluation{cfg: cfg, be: be, log: log, name: cfg.Models[0], words: words, hay: hay, keep: &journal{},
		stream: cfg.Stream, said: told{}}
	err = proc.Intact(func() error {
		if e.base, err = load.Open(e.name, cfg.Adapter); err != nil {
			return err
		}
		defer e.base.Close()
		items, err := e.items(ctx)
		if err != nil {
			return err
		}
		for _, x := range items {
			s, err := e.seconds(x, e.pieces(x))
			if err != nil {
				return err
			}
			seconds += s
		}
		return nil
	})
	return seconds, err
}

// pieces is how many windows or prompts an item has.
func (e *evaluation) pieces(x *item) int {
	switch x.res.Task {
	case "ppl":
		return len(x.ws)
	case "passkey":
		return e.cfg.Depths * e.cfg.Trials
	case "ruler":
		return len(e.subtasks()) * len(e.trials())
	}
	return e.cfg.Trials
}

// seconds predicts n windows or prompts of an item. The few tokens of an answer are left out.
func (e *evaluation) seconds(x *item, n int) (float64, error) {
	w, err := x.ask.At(x.res.Ctx)
	if err != nil {
		return 0, err
	}
	pl, err := e.engine.planner.Plan(x.ask)
	if err != nil {
		return 0, err
	}
	s, err := e.engine.planner.Forecast(w, pl.Tiling)
	return float64(n) * s, err
}

// offered is the number of windows that is offered where no limit was given.
const offered = 32

// sayTime says what all windows of a length will take, and what some of them would, where no limit was given and
// there are more than are offered: a prediction measures the machine first, which takes longer than a few windows.
func (e *evaluation) sayTime(x *item) error {
	n := len(x.ws)
	if x.res.Task != "ppl" || e.cfg.Limit > 0 || n <= offered {
		return nil
	}
	s, err := e.seconds(x, n)
	if err != nil {
		return err
	}
	ui.Fact(e.log, fmt.Sprintf("ppl %d", x.res.Ctx), "all %d windows, about %s; %s %d, evenly spread, takes about %s", n,
		ui.Duration(s), errs.Option("limit"), offered, ui.Duration(s*offered/float64(n)))
	return nil
}
