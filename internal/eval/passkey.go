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

// Make builds a trial: the longest filler with which prompt and answer fit into ctx tokens, the fact at depth
// (d+½)/depths of it.
func (t Template) Make(enc Encoder, ctx, d, depths, trial int, seed uint64) (Trial, error) {
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
	e := &encoding{enc: enc}
	build := func(n int) Trial {
		at := int((float64(d) + 0.5) / float64(depths) * float64(n))
		prompt := fill(t.Intro) + strings.Repeat(filler, at) + fill(t.Fact) + strings.Repeat(filler, n-at) + fill(t.Question)
		return e.split(prompt, fill(t.Answer))
	}
	n, err := most(func(n int) int { x := build(n); return len(x.Prompt) + len(x.Answer) }, ctx, 0)
	if e.err != nil {
		err = e.err
	}
	if err != nil {
		return Trial{}, fmt.Errorf("the passkey task: %w", err)
	}
	x := build(n)
	if len(x.Answer) == 0 {
		return x, errs.Dataf("the passkey task: the tokenizer has no token for the answer %q", fill(t.Answer))
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

// Ask runs one trial: greedy, right only if every token of the answer is.
func Ask(r *model.Runner, x Trial) (bool, error) {
	if err := inVocabulary(r, x.Prompt, x.Answer); err != nil {
		return false, err
	}
	s := r.NewSession(len(x.Prompt) + len(x.Answer))
	defer s.Close()
	if err := s.Append(x.Prompt...); err != nil {
		return false, err
	}
	for i, want := range x.Answer {
		got, err := s.Best()
		if err != nil || got != want {
			return false, err
		}
		if i+1 < len(x.Answer) {
			if err := s.Append(got); err != nil {
				return false, err
			}
		}
	}
	return true, nil
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

// Passkey runs all trials of one length that have no result yet; done is told of each.
func Passkey(ctx context.Context, r *model.Runner, t Template, enc Encoder, length, depths, trials int, seed uint64,
	have map[[2]int]bool, done func(d, k int, right bool) error) ([]Cell, error) {
	cells := make([]Cell, depths)
	for d := range cells {
		cells[d] = Cell{Depth: (float64(d) + 0.5) / float64(depths), Trials: trials}
		for k := range trials {
			right, ok := have[[2]int{d, k}]
			if !ok {
				if ctx.Err() != nil {
					return nil, errs.Interruptedf("interrupted in the passkey task at %d tokens", length)
				}
				x, err := t.Make(enc, length, d, depths, k, seed)
				if err == nil {
					right, err = Ask(r, x)
				}
				if err == nil {
					err = done(d, k, right)
				}
				if err != nil {
					return nil, err
				}
			}
			if right {
				cells[d].Correct++
			}
		}
	}
	return cells, nil
}

func (e *evaluation) passkey(ctx context.Context, r *model.Runner, x *item) error {
	have, found := map[[2]int]bool{}, 0
	for d := range e.cfg.Depths {
		for k := range e.cfg.Trials {
			if l, ok := e.keep.have[fmt.Sprintf("%s/%d/%d", x.key, d, k)]; ok && l.Right != nil {
				have[[2]int{d, k}] = *l.Right
				if *l.Right {
					found++
				}
			} else if !e.mine() {
				have[[2]int{d, k}] = false // another rank's, to be told
			}
		}
	}
	bar := ui.NewProgress(e.log, fmt.Sprintf("passkey %d", x.res.Ctx), e.cfg.Depths*e.cfg.Trials, len(have))
	defer bar.Done()
	cells, err := Passkey(ctx, r, e.words, e.enc, x.res.Ctx, e.cfg.Depths, e.cfg.Trials, e.cfg.Seed, have, func(d, k int,
		right bool) error {
		if right {
			found++
		}
		bar.Step(fmt.Sprintf("%d found", found))
		return e.put(line{Key: fmt.Sprintf("%s/%d/%d", x.key, d, k), Right: &right})
	})
	if err != nil || e.share != nil {
		return err
	}
	x.res.Cells = cells
	correct := 0
	for _, c := range cells {
		x.res.Trials, correct = x.res.Trials+c.Trials, correct+c.Correct
	}
	a := float64(correct) / float64(x.res.Trials)
	x.res.Accuracy = &a
	return nil
}
