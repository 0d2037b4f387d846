package extend

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"longlora/internal/eval"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// begin says before anything is computed what all of it is and will take. What the training or an evaluation would
// refuse is refused here.
func (e *extension) begin(ctx context.Context) (err error) {
	seconds := 0.0
	if e.cfg.DoTrain {
		if seconds, err = train.Check(ctx, e.training(), e.be, e.log); err != nil {
			return err
		}
	}
	return e.estimate(ctx, seconds)
}

// estimate says what three evaluations and so many seconds of training will take together.
func (e *extension) estimate(ctx context.Context, training float64) error {
	each, err := eval.Predict(ctx, e.job(e.base.Dir, nil, nil), e.be, e.log)
	if err != nil {
		return err
	}
	var lengths []string
	for _, l := range e.rep.Lengths {
		lengths = append(lengths, strconv.Itoa(l.Ctx))
	}
	fmt.Fprintf(e.log, "evaluation  base, interpolated and trained at %s tokens, %d windows and %d passkeys each: "+
		"about %s a model\n", strings.Join(lengths, ", "), e.cfg.EvalLimit, e.cfg.Depths*e.cfg.Trials, ui.Duration(each))
	fmt.Fprintf(e.log, "in all      about %s: %s of training and %s of evaluation, "+
		"reading and writing the model left out\n", ui.Duration(training+3*each), ui.Duration(training), ui.Duration(3*each))
	return nil
}

// How perplexity is measured: the reference's way.
const (
	protocol = "longlora"
	stride   = 256
)

// job is the evaluation of one model at every length.
func (e *extension) job(dir string, pos *rope.Positions, window *s2attn.Choice) eval.Job {
	c := eval.Options{
		Memory: e.cfg.Memory, StreamLayers: e.cfg.StreamLayers, Options: s2attn.Options{Attn: "full"}, Window: window,
		Models: []string{dir},
		Tasks:  []string{"ppl", "passkey"}, Stride: stride, Limit: e.cfg.EvalLimit, Protocol: protocol,
		Trials: e.cfg.Trials, Depths: e.cfg.Depths, Seed: e.cfg.Seed, Words: e.cfg.Words,
	}
	for _, l := range e.rep.Lengths {
		c.Ctx = append(c.Ctx, l.Ctx)
	}
	return eval.Job{Options: c, Stream: e.stream, Positions: pos, SkipShort: true}
}
