package eval

import (
	"context"
	"fmt"
	"math"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ui"
)

// Ruler is what the RULER-like tasks give at one length.
type Ruler struct {
	Score    float64   `json:"score"`  // the mean of the subtasks', 0 to 1
	StdErr   float64   `json:"stderr"` // of that mean
	Subtasks []Subtask `json:"subtasks"`
}

// Subtask is one of the RULER-like tasks at one length.
type Subtask struct {
	Name   string  `json:"name"`
	Trials int     `json:"trials"`
	Score  float64 `json:"score"` // mean share of the references found, 0 to 1
}

// Prompts are all that were asked.
func (r *Ruler) Prompts() (n int) {
	for _, s := range r.Subtasks {
		n += s.Trials
	}
	return n
}

// RulerLike is what every result of these tasks says of itself.
const RulerLike = "RULER-like: prompts and word lists of our own, comparable with each other and not with RULER's " +
	"published figures"

// rulerWords counts up whenever a prompt or a word list changes, so that no kept answer is taken for one to the new.
const rulerWords = 1

// Sample is one prompt of a RULER-like subtask.
type Sample struct {
	Prompt     []int32
	References []string // what the answer must hold
	Room       int      // tokens that an answer may take
	Units      int      // of filler in the prompt
}

// Answer is what a model said, and how many of the references stand in it.
type Answer struct {
	Text   string   `json:"text"`
	Found  int      `json:"found"`
	Of     int      `json:"of"`
	Wanted []string `json:"wanted,omitempty"` // the references; older results do not have them
}

// room is how many tokens an answer may take: twice what the references alone do, and a few.
func (s *script) room(e *encoding) int { return 2*len(e.ids(" "+strings.Join(s.refs, ", "))) + spare }

// takes is how many tokens the fixed words of a sample, its least filler and room for an answer take.
func (t subtask) takes(enc Encoder, hay *haystack, ctx, trial int, seed uint64) (int, error) {
	s, e := t.make(newDrawing(t.name, hay, seed, ctx, trial)), &encoding{enc: enc}
	size := len(e.withBOS(s.text(s.least))) + s.room(e)
	return size, t.fault(e.err)
}

func (t subtask) fault(err error) error {
	if err != nil {
		err = fmt.Errorf("the RULER-like task %s: %w", t.name, err)
	}
	return err
}

// sample makes a prompt: as much filler as leaves room for an answer in ctx tokens. What is drawn depends on the
// subtask and (seed, ctx, trial) alone.
func (t subtask) sample(enc Encoder, hay *haystack, ctx, trial int, seed uint64) (Sample, error) {
	s, e := t.make(newDrawing(t.name, hay, seed, ctx, trial)), &encoding{enc: enc}
	x := Sample{References: s.refs, Room: s.room(e)}
	var best []int32 // of the longest prompt that fits so far
	n, err := most(func(n int) int {
		if s.units > 0 && n > s.units {
			return ctx + 1
		}
		ids := e.withBOS(s.text(n))
		size := len(ids) + x.Room
		if size <= ctx && n >= x.Units {
			best, x.Units = ids, n
		}
		return size
	}, ctx, s.least)
	if e.err != nil {
		err = e.err
	}
	if err == nil && s.units > 0 && n == s.units {
		err = errs.Dataf("%s %d is too long: its %d lines do not fill that", errs.Option("ctx"), ctx, n)
	}
	x.Prompt = best
	return x, t.fault(err)
}

// judge counts the references that stand in an answer, whatever the case of their letters.
func (x Sample) judge(text string) *Answer {
	a := &Answer{Text: strings.TrimSpace(text), Of: len(x.References), Wanted: x.References}
	low := strings.ToLower(text)
	for _, r := range x.References {
		if strings.Contains(low, strings.ToLower(r)) {
			a.Found++
		}
	}
	return a
}

// ruler runs all subtasks at one length, those in a haystack where there is one.
func (e *evaluation) ruler(ctx context.Context, r *model.Runner, x *item) error {
	tasks, trials := e.subtasks(), e.trials()
	have := 0
	for _, t := range tasks {
		for _, k := range trials {
			if e.keep.have[e.rulerKey(x, t, k)].Answer != nil {
				have++
			}
		}
	}
	bar := ui.NewProgress(e.log, fmt.Sprintf("ruler %d", x.res.Ctx), len(tasks)*len(trials), have)
	defer bar.Done()
	stop := ends(e.base, e.enc)
	res := &Ruler{}
	var shares [][]float64
	for _, t := range tasks {
		var of []float64
		for _, k := range trials {
			key := e.rulerKey(x, t, k)
			a := e.keep.have[key].Answer
			if a == nil && !e.mine() {
				continue
			}
			if a == nil {
				if ctx.Err() != nil {
					return errs.Interruptedf("interrupted in the RULER-like tasks at %d tokens", x.res.Ctx)
				}
				s, err := t.sample(e.enc, e.hay, x.res.Ctx, k, e.cfg.Seed)
				if err != nil {
					return err
				}
				e.noteRepeat(t, s, x.res.Ctx)
				text, err := complete(r, s.Prompt, s.Room, e.enc, stop, func(text string) bool {
					return s.judge(text).Found == len(
						s.References)
				})
				if err != nil {
					return err
				}
				a = s.judge(text)
				if err := e.put(line{Key: key, Answer: a}); err != nil {
					return err
				}
				bar.Step(fmt.Sprintf("%s %d of %d", t.name, a.Found, a.Of))
			}
			of = append(of, float64(a.Found)/float64(a.Of))
		}
		if e.share != nil {
			continue
		}
		shares = append(shares, of)
		res.Subtasks = append(res.Subtasks, Subtask{t.name, len(of), mean(of)})
	}
	if e.share != nil {
		return nil
	}
	res.Score, res.StdErr = overall(shares)
	x.res.Ruler, x.res.Note = res, RulerLike
	return nil
}

// rulerFits checks every subtask and trial at a length, and names all that it is too short for; no prompt of full
// length is made for it.
func (e *evaluation) rulerFits(enc Encoder, n int) error {
	var short []string
	for _, t := range e.subtasks() {
		if least, err := e.takes(enc, t, n); err != nil {
			return err
		} else if least > n {
			short = append(short, fmt.Sprintf("%s (%d)", t.name, least))
		}
	}
	if len(short) == 0 {
		return nil
	}
	least, err := leastCtx(n, func(n int) (most int, err error) {
		for _, t := range e.subtasks() {
			one, err := e.takes(enc, t, n)
			if err != nil {
				return 0, err
			}
			most = max(most, one)
		}
		return most, nil
	})
	if err != nil {
		return err
	}
	return errs.Dataf("%s %d is too short for %s of the RULER-like tasks, which take so many tokens at least; give %d or "+
		"more", errs.Option("ctx"), n, strings.Join(short, ", "), least)
}

// takes is how many tokens the longest trial of a subtask takes at least.
func (e *evaluation) takes(enc Encoder, t subtask, n int) (most int, err error) {
	for _, k := range e.trials() {
		one, err := t.takes(enc, e.hay, n, k, e.cfg.Seed)
		if err != nil {
			return 0, err
		}
		most = max(most, one)
	}
	return most, nil
}

// subtasks are those that can be asked: the ones in a haystack where one was given.
func (e *evaluation) subtasks() (out []subtask) {
	for _, t := range subtasks {
		if !t.hay || e.hay != nil {
			out = append(out, t)
		}
	}
	return out
}

// trials are the numbers of the trials, at most --limit of them.
func (e *evaluation) trials() []int {
	all := make([]int, e.cfg.Trials)
	for k := range all {
		all[k] = k
	}
	return Limit(all, e.cfg.Limit)
}

func (e *evaluation) rulerKey(x *item, t subtask, trial int) string {
	name := t.name
	if t.hay {
		name += "@" + e.hay.print
	}
	return fmt.Sprintf("%s/%s/%d", x.key, name, trial)
}

// noteRepeat says, once a length, that a haystack is shorter than what it fills.
func (e *evaluation) noteRepeat(t subtask, s Sample, ctx int) {
	if !t.hay || s.Units <= len(e.hay.words) {
		return
	}
	n := fmt.Sprintf("note: %s %s has %s, fewer than fill %d tokens: it is gone through more than once",
		errs.Option("haystack"), e.cfg.Haystack, ui.Count(len(e.hay.words), "word"), ctx)
	if !e.said[n] {
		e.said[n] = true
		fmt.Fprintln(e.log, n)
	}
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}

// variance is the sample variance, with one less than there are in the denominator.
func variance(list []float64) float64 {
	m, sum := mean(list), 0.0
	for _, v := range list {
		sum += (v - m) * (v - m)
	}
	return sum / float64(len(list)-1)
}

// overall is the mean of K subtasks' means and its standard error, √(Σ s²ₖ/nₖ)/K: subtasks are fixed, trials drawn. One
// trial each says nothing of a subtask's own spread; then that between the subtasks stands in for it, which is wider.
func overall(shares [][]float64) (score, stderr float64) {
	means, of := make([]float64, len(shares)), 0.0
	for k, s := range shares {
		means[k] = mean(s)
		if len(s) > 1 {
			of += variance(s) / float64(len(s))
		}
	}
	n := float64(len(shares))
	if len(shares[0]) == 1 {
		return mean(means), math.Sqrt(variance(means) / n)
	}
	return mean(means), math.Sqrt(of) / n
}
