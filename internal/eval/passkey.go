package eval

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"crypto/sha256"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ui"
)

// Trial is one prompt with the answer that is right.
type Trial struct{ Prompt, Answer []int32 }

// draw is a generator that depends on (seed, ctx, depth, trial) alone.
func draw(seed uint64, ctx, depth, trial int) *rand.Rand {
	var b [32]byte
	for i, v := range []uint64{seed, uint64(ctx), uint64(depth), uint64(trial)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	return rand.New(rand.NewChaCha8(sha256.Sum256(b[:])))
}

// filled are the trial's prompts by the units of filler, the fact at depth (d+½)/depths of it, and the answer.
func (t Template) filled(e *encoding, ctx, d, depths, trial int, seed uint64) (build func(n int) Trial, answer string) {
	r := draw(seed, ctx, d, trial)
	key := fmt.Sprint(1 + r.IntN(50000))
	if len(t.Keys) > 0 {
		key = t.Keys[r.IntN(len(t.Keys))]
	}
	var name string
	if len(t.Names) > 0 {
		name = t.Names[r.IntN(len(t.Names))]
	} else {
		name = fmt.Sprint(1 + r.IntN(50000))
	}
	fill := strings.NewReplacer("{key}", key, "{name}", name).Replace
	filler := fill(t.Filler)
	answer = fill(t.Answer)
	return func(n int) Trial {
		at := int((float64(d) + 0.5) / float64(depths) * float64(n))
		prompt := fill(t.Intro) + strings.Repeat(filler, at) + fill(t.Fact) + strings.Repeat(filler, n-at) + fill(t.Question)
		return e.split(prompt, answer)
	}, answer
}

// takes is how many tokens the fixed words of the longest trial take at a length.
func (t Template) takes(enc Encoder, ctx, depths, trials int, seed uint64) (most int, err error) {
	e := &encoding{enc: enc}
	for d := range depths {
		for k := range trials {
			build, _ := t.filled(e, ctx, d, depths, k, seed)
			x := build(0)
			if most = max(most, len(x.Prompt)+len(x.Answer)); e.err != nil {
				return 0, e.err
			}
		}
	}
	return most, nil
}

// fits refuses a length that is too short for a trial.
func (t Template) fits(enc Encoder, ctx, depths, trials int, seed uint64) error {
	err := longEnough(ctx, func(ctx int) (int, error) { return t.takes(enc, ctx, depths, trials, seed) })
	if err != nil {
		return fmt.Errorf("the passkey task: %w", err)
	}
	return nil
}

// Make builds a trial: the longest filler with which prompt and answer fit into ctx tokens.
func (t Template) Make(enc Encoder, ctx, d, depths, trial int, seed uint64) (Trial, error) {
	e := &encoding{enc: enc}
	build, answer := t.filled(e, ctx, d, depths, trial, seed)
	n, err := most(func(n int) int { x := build(n); return len(x.Prompt) + len(x.Answer) }, ctx, 0)
	if e.err != nil {
		err = e.err
	}
	if err != nil {
		return Trial{}, fmt.Errorf("the passkey task: %w", err)
	}
	x := build(n)
	if len(x.Answer) == 0 {
		return x, errs.Dataf("the passkey task: the tokenizer has no token for the answer %q", answer)
	}
	return x, nil
}

// split encodes a prompt and its answer together. Where the answer's beginning merges with the prompt's end, that token
// is the answer's first: the prompt is what both ways of encoding agree on.
func (e *encoding) split(prompt, answer string) Trial {
	whole, alone := e.withBOS(prompt+answer), e.withBOS(prompt)
	n := 0
	for n < min(len(whole), len(alone)) && whole[n] == alone[n] {
		n++
	}
	return Trial{whole[:n:n], whole[n:]}
}

// Cell counts one depth's trials.
type Cell struct {
	Depth   float64 `json:"depth"`
	Trials  int     `json:"trials"`
	Correct int     `json:"correct"`
}

// Ask runs one trial: what the model writes, greedily, in as many tokens as the answer has. It is right if they are the
// answer's.
func Ask(r *model.Runner, x Trial) ([]int32, error) {
	if err := inVocabulary(r, x.Prompt, x.Answer); err != nil {
		return nil, err
	}
	s := r.NewSession(len(x.Prompt) + len(x.Answer))
	defer s.Close()
	next, said := x.Prompt, make([]int32, 0, len(x.Answer))
	for range x.Answer {
		if err := s.Append(next...); err != nil {
			return nil, err
		}
		id, err := s.Best()
		if err != nil {
			return nil, err
		}
		said = append(said, id)
		next = said[len(said)-1:]
	}
	return said, nil
}

// inVocabulary refuses ids of a tokenizer that is not the model's.
func inVocabulary(r *model.Runner, lists ...[]int32) error {
	for _, id := range slices.Concat(lists...) {
		if int(id) >= r.M.V {
			return errs.Dataf("the tokenizer gives id %d, the model's vocabulary ends at %d; is it another model's?", id, r.M.V)
		}
	}
	return nil
}

// Miss is a trial that was not right: the answer, and what the model wrote in as many tokens.
type Miss struct {
	Depth  float64 `json:"depth"`
	Trial  int     `json:"trial"`
	Answer string  `json:"answer"`
	Text   string  `json:"text"`
}

// try is trial k at depth d, whose place in the filler is depth.
func (e *evaluation) try(r *model.Runner, ctx, d, k int, depth float64) (right bool, miss *Miss, err error) {
	x, err := e.words.Make(e.enc, ctx, d, e.cfg.Depths, k, e.cfg.Seed)
	if err != nil {
		return false, nil, err
	}
	said, err := Ask(r, x)
	if err != nil || slices.Equal(said, x.Answer) {
		return err == nil, nil, err
	}
	miss = &Miss{Depth: depth, Trial: k}
	if miss.Answer, err = e.enc.Decode(x.Answer); err == nil {
		miss.Text, err = e.enc.Decode(said)
	}
	return false, miss, err
}

// passkey runs all trials of one length that have no result yet. Of a kept trial that an older program found missed it
// is not known what was written.
func (e *evaluation) passkey(ctx context.Context, r *model.Runner, x *item) error {
	cells, found, kept := make([]Cell, e.cfg.Depths), 0, 0
	key := func(d, k int) string { return fmt.Sprintf("%s/%d/%d", x.key, d, k) }
	for d := range cells {
		for k := range e.cfg.Trials {
			if l := e.keep.have[key(d, k)]; l.Right != nil {
				kept++
				if *l.Right {
					found++
				}
			}
		}
	}
	bar := ui.NewProgress(e.log, fmt.Sprintf("passkey %d", x.res.Ctx), e.cfg.Depths*e.cfg.Trials, kept)
	defer bar.Done()
	var missed []Miss
	for d := range cells {
		cells[d] = Cell{Depth: (float64(d) + 0.5) / float64(e.cfg.Depths), Trials: e.cfg.Trials}
		for k := range e.cfg.Trials {
			l := e.keep.have[key(d, k)]
			if l.Right == nil && !e.mine() {
				continue // another rank's, to be told
			}
			if l.Right == nil {
				if ctx.Err() != nil {
					return errs.Interruptedf("interrupted in the passkey task at %d tokens", x.res.Ctx)
				}
				right, miss, err := e.try(r, x.res.Ctx, d, k, cells[d].Depth)
				if err != nil {
					return err
				}
				if right {
					found++
				}
				bar.Step(fmt.Sprintf("%d found", found))
				l = line{Key: key(d, k), Right: &right, Missed: miss}
				if err := e.put(l); err != nil {
					return err
				}
			}
			if *l.Right {
				cells[d].Correct++
			} else if l.Missed != nil {
				missed = append(missed, *l.Missed)
			}
		}
	}
	if e.share != nil {
		return nil
	}
	x.res.Cells, x.res.Missed = cells, missed
	x.res.Trials = e.cfg.Depths * e.cfg.Trials
	a := float64(found) / float64(x.res.Trials)
	x.res.Accuracy = &a
	return nil
}
