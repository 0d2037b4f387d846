package extend

import (
	"context"
	"strconv"
	"strings"

	"longlora/internal/data"
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
	_, err = e.estimate(ctx, seconds)
	return err
}

// Estimate is what a dry run found, for --json.
type Estimate struct {
	*train.Facts         // of the training; nil where there is none
	EvaluationS  float64 `json:"evaluation_s"` // predicted of all evaluations
	AllS         float64 `json:"all_s"`        // and of the training
}

// estimate says what three evaluations and so many seconds of training will take together, and returns the evaluations'
// seconds.
func (e *extension) estimate(ctx context.Context, training float64) (evaluation float64, err error) {
	each, err := eval.Predict(ctx, e.job(e.base.Dir, nil, nil), e.be, e.log)
	if err != nil {
		return 0, err
	}
	last, all := "trained", 3*each
	if !e.cfg.DoTrain {
		last = "merged"
	}
	var lengths []string
	for _, l := range e.rep.Lengths {
		lengths = append(lengths, strconv.Itoa(l.Ctx))
	}
	ui.Fact(e.log, "evaluation", "base, interpolated and %s at %s tokens, %s and %s each: about %s a model", last,
		strings.Join(lengths, ", "), ui.Count(e.cfg.EvalLimit, "window"),
		ui.Count(e.cfg.Depths*e.cfg.Trials, "passkey"), ui.Duration(each))
	ui.Fact(e.log, "in all", "about %s: %s of training and %s of evaluation, reading and writing the model left out",
		ui.Duration(training+all), ui.Duration(training), ui.Duration(all))
	return all, nil
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
		Weights: e.cfg.Weights, Products: e.cfg.Products,
		Trials: e.cfg.Trials, Depths: e.cfg.Depths, Seed: e.cfg.Seed, Words: e.cfg.Words,
		Documents: data.Options{AddBOS: e.cfg.Documents.AddBOS}, // of prompts; the stream is read already
	}
	for _, l := range e.rep.Lengths {
		c.Ctx = append(c.Ctx, l.Ctx)
	}
	return eval.Job{Options: c, Stream: e.stream, Positions: pos, SkipShort: true}
}
