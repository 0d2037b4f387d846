package train

import (
	"context"
	"errors"
	"fmt"
	"time"

	"longlora/internal/data"
	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/rundir"
	"longlora/internal/s2attn"
	"longlora/internal/ui"
)

// loop does the steps that are left, saving on the way and at the end.
func (r *run) loop(ctx context.Context) error {
	defer proc.Hold(ctx)() // a step that is not saved would be lost
	st := &r.rec.State
	bar := ui.NewProgress(r.log, "train", r.steps, st.Step)
	defer bar.Done()
	sched := Schedule{Kind: r.c.Schedule, LR: r.lr, Warmup: r.c.WarmupSteps, Steps: r.steps}
	if err := r.decide(st.Step < r.steps); err != nil {
		return err
	}
	for st.Pending != nil || st.Step < r.steps && !st.Stopped {
		if st.Pending == nil {
			if err := r.step(ctx, sched); err != nil {
				return r.stopped(err)
			}
		}
		m := st.Pending
		if err := r.validate(ctx, m); err != nil {
			return r.stopped(err)
		}
		if err := r.write(m); err != nil {
			return err
		}
		st.Pending = nil
		if v := m.Validation.Words(); v != "" {
			bar.Say("validation  step %d: loss %s", m.Step, v)
		}
		if err := r.heed(m); err != nil {
			return err
		}
		if st.Step%r.c.SaveEvery == 0 || st.Step == r.steps || st.Stopped { // before the step counts as done
			if err := r.checkpoint(); err != nil {
				return err
			}
		}
		detail := fmt.Sprintf("loss %.4f  %.0f tok/s", m.Loss, m.TokPerS)
		if r.work.Last != nil && m.Attn == "full" {
			detail += "  full attention"
		}
		bar.Step(detail)
		if st.Stopped {
			bar.Say("stopped     after step %d of %d: no better validation loss since step %d, %d validations ago", st.Step,
				r.steps, r.best.step, r.best.since)
		}
	}
	return nil
}

// write adds a step's line of metrics.
func (r *run) write(m *rundir.Metrics) error {
	if r.metrics == nil { // rank 0 writes
		return nil
	}
	if err := r.present(); err != nil {
		return err
	}
	return r.metrics.Write(m)
}

func (r *run) closeMetrics() {
	if r.metrics != nil {
		_ = r.metrics.Close()
	}
}

// stopped saves the last completed step when the run was cancelled, when a mapped file broke, which no completed step
// has seen, or when another rank is gone or has failed; other errors pass.
func (r *run) stopped(err error) error {
	var ended *dist.Ended
	broken := proc.IsBroken(err) || errors.As(err, &ended)
	if ended != nil && ended.Mend != "" { // it is known better here
		said := *ended
		said.Mend = ""
		err = errs.Kindf(errs.Kind(said.Code), "%w", &said)
	}
	if !broken && !errors.Is(err, context.Canceled) {
		if changed := r.unchanged(); errs.Code(err) == int(errs.Data) && changed != nil { // which is why
			return changed
		}
		return err
	}
	if broken && r.c.Ranks.Rank() > 0 {
		return errs.Kindf(errs.Kind(errs.Code(err)), "%w. The same command goes on from what rank 0 saved last in %s", err,
			r.c.Out)
	}
	if saving := r.checkpoint(); saving != nil {
		if broken {
			return errs.Kindf(errs.Kind(errs.Code(err)), "%w; and step %d could not be saved: %w", err, r.rec.State.Step, saving)
		}
		return saving
	}
	if broken {
		return errs.Kindf(errs.Kind(errs.Code(err)), "%w. Step %d of %d is saved; the same command goes on from %s then", err,
			r.rec.State.Step, r.steps, r.c.Out)
	}
	return errs.Interruptedf("interrupted after step %d of %d; the same command goes on from %s", r.rec.State.Step,
		r.steps, r.c.Out)
}

// checkpoint saves the state, unless it is saved already.
func (r *run) checkpoint() error {
	if r.savedAt == r.rec.State.Step && r.rec.State.Pending == nil || r.c.Ranks.Rank() > 0 {
		return nil
	}
	if err := r.present(); err != nil {
		return err
	}
	r.at("saving", fmt.Sprintf("saving step %d", r.rec.State.Step), r.stateBytes())
	if proc.Broken() == nil { // no step that is done has seen that
		if err := r.unchanged(); err != nil {
			return err
		}
	}
	if err := r.save(r.engine, r.rec); err != nil {
		return err
	}
	r.savedAt = r.rec.State.Step
	r.mends()
	return nil
}

// step does the next optimizer step and leaves its line of metrics pending. When it fails nothing of it remains.
func (r *run) step(ctx context.Context, sched Schedule) error {
	c, st, begun := r.c, &r.rec.State, time.Now()
	s := st.Step + 1
	r.meeting.Step = s
	r.at("step", fmt.Sprintf("step %d", s), 0)
	w, err := r.enter(s)
	if err != nil {
		return err
	}
	var loss, norm float64
	tokens := int64(0)
	err = proc.Intact(func() (err error) {
		targets := 0
		for i := range int64(c.Accum) * int64(c.Batch) {
			row := r.sample(s, i)
			targets += load.Scored(row)
			tokens += int64(len(row.IDs))
		}
		if targets == 0 {
			return errs.Dataf("%s: step %d has no token to predict: its documents are single tokens, or no answer lies in its "+
				"rows", errs.Option("data"), s)
		}
		loss, norm, err = r.engine.Gradients(ctx, r.micros(), func(a int) *model.Batch { return r.micro(s, a) }, targets)
		return err
	})
	if err == nil {
		err = r.engine.CheckFinite(s, loss, norm)
	}
	if err != nil {
		return err
	}
	h := ops.AdamW{LR: sched.At(s), Beta1: c.Beta1, Beta2: c.Beta2, Eps: c.Eps, Decay: c.WeightDecay, GradScale: Clip(norm,
		c.MaxGradNorm), Step: s}
	outer := sched.Scaled(r.lrEmbed).At(s)
	r.engine.Model.Params.Update(h, outer)
	if err := r.be.Sync(); err != nil {
		return err
	}
	sec := time.Since(begun).Seconds()
	if err := r.peaks.Look(); err != nil {
		return err
	}
	st.Step, st.Loss, st.Tokens, st.Seconds = s, loss, st.Tokens+tokens, st.Seconds+sec
	st.Pending = &rundir.Metrics{Step: s, Attn: w.Attn(), Loss: loss, GradNorm: norm, LR: h.LR, LREmbed: outer,
		Tokens: tokens, TokPerS: float64(tokens) / sec, StepS: sec, DevicePeak: r.peaks.Device, HostPeak: r.peaks.Host}
	return nil
}

// enter has what follows attend as step s does, and gives its work.
func (r *run) enter(s int) (plan.Work, error) {
	last := r.work.Last != nil && s > r.steps-r.fullSteps()
	if err := r.engine.Enter(last); err != nil || !last {
		return r.work, err
	}
	return r.work.AsLast(), nil
}

// sample is row i of step s, i counting over the step's micro-batches.
func (r *run) sample(s int, i int64) data.Row {
	return r.set.Row(r.order.Row(r.sampleNumber(s, i)))
}

func (r *run) sampleNumber(s int, i int64) int64 {
	return int64(s-1)*int64(r.c.Accum)*int64(r.c.Batch) + i
}

// block are this rank's samples of a step, from lo up to hi.
func (s *setup) block() (lo, hi int) { return s.c.Ranks.Block(s.c.Accum * s.c.Batch) }

// micros is the number of this rank's micro-batches of a step.
func (s *setup) micros() int {
	lo, hi := s.block()
	return (hi - lo + s.c.Batch - 1) / s.c.Batch
}

// micro lays the rows of this rank's micro-batch a of step s end to end.
func (r *run) micro(s, a int) *model.Batch {
	r.batches.Start()
	lo, hi := r.block()
	for i := lo + a*r.c.Batch; i < min(hi, lo+(a+1)*r.c.Batch); i++ {
		r.batches.Add(r.sample(s, int64(i)), int64(s), r.sampleNumber(s, int64(i)))
	}
	return r.batches.Batch()
}

// validate fills in the mean loss of the held-out rows where the step's line shall have it.
func (r *run) validate(ctx context.Context, m *rundir.Metrics) error {
	if r.c.EvalEvery == 0 || m.Step%r.c.EvalEvery != 0 {
		return nil
	}
	w, err := r.enter(m.Step)
	if err != nil {
		return err
	}
	r.at("validation", fmt.Sprintf("the validation after step %d", m.Step), 0)
	for _, spec := range w.Score {
		var loss float64
		err := proc.Intact(func() (err error) {
			loss, err = r.evalLoss(ctx, spec)
			return err
		})
		if err != nil {
			return err
		}
		if err := r.engine.checkEval(m.Step, loss); err != nil {
			return dist.Common(err)
		}
		switch {
		case len(w.Score) == 1:
			m.EvalLoss = &loss
		case spec.Mode == s2attn.Full:
			m.EvalFull = &loss
		default:
			m.EvalSparse = &loss
		}
	}
	return nil
}

// evalLoss is the mean over all scored tokens of the validation rows under one way of attending.
func (r *run) evalLoss(ctx context.Context, spec s2attn.Spec) (float64, error) {
	n, row := r.evalRows()
	w := load.Batches{}
	sum, count := 0.0, 0
	runner := r.engine.Scorers[spec.Mode]
	defer runner.Heed(ctx)()
	lo, hi := r.c.Ranks.Block(n)
	inChain, _ := r.c.Ranks.InChain()
	for i := lo; i < hi; i++ {
		r.c.Watch.Waits()
		on, err := r.engine.chain.Begin(ctx.Err() == nil)
		if err != nil {
			return 0, err
		}
		r.c.Watch.Mark()
		if !on {
			break
		}
		y := row(i)
		nll, err := runner.Score(w.Row(y))
		if err != nil {
			return 0, err
		}
		for _, v := range nll {
			sum += float64(v)
		}
		if inChain == 0 { // all of the chain score it, each a part
			count += load.Scored(y)
		}
	}
	r.c.Watch.Waits()
	sum, count, err := r.scored(ctx, sum, count)
	r.c.Watch.Mark()
	if err != nil {
		return 0, err
	}
	if count == 0 {
		return 0, errs.Dataf("%s: no token to predict in the rows for validation", errs.Option("eval-data"))
	}
	return sum / float64(count), nil
}
