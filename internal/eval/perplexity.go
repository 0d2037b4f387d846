// Package eval judges models: perplexity by length, and whether a fact is found again.
package eval

import (
	"context"
	"fmt"
	"math"

	"longlora/internal/errs"
	"longlora/internal/model"
)

// Window is an interval of the stream; tokens before From are context and not scored.
type Window struct{ Lo, Hi, From int }

// Windows lists the windows of a protocol over a stream of n tokens.
//
// longlora, the reference's: [i, i+ctx) for i = 0, stride, … < n-ctx, the last of them left out, each scored whole.
// sliding: [i, i+ctx) while i+ctx ≤ n, then [n-ctx, n) where tokens remain; each scores what no earlier one did.
func Windows(protocol string, n, ctx, stride int) []Window {
	var w []Window
	if protocol == "longlora" {
		for i := 0; i < n-ctx; i += stride {
			w = append(w, Window{i, i + ctx, i + 1})
		}
		return w[:max(0, len(w)-1)]
	}
	done := 1 // tokens below are scored; the first has nothing before it
	for i := 0; i+ctx <= n; i += stride {
		w = append(w, Window{i, i + ctx, max(done, i+1)})
		done = i + ctx
	}
	if len(w) > 0 && done < n {
		w = append(w, Window{n - ctx, n, done})
	}
	return w
}

// leastTokens is the shortest stream that has a window, and what it is the sum of.
func leastTokens(protocol string, ctx, stride int) (n int, of string) {
	if protocol == "longlora" { // whose last window is left out
		return ctx + stride + 1, errs.Option("ctx").String() + " + " + errs.Option("stride").String() + " + 1"
	}
	return ctx, errs.Option("ctx").String()
}

// Limit keeps all of W windows or trials, or those numbered ⌊j·W/limit⌋.
func Limit[T any](w []T, limit int) []T {
	if limit <= 0 || len(w) <= limit {
		return w
	}
	out := make([]T, limit)
	for j := range out {
		out[j] = w[j*len(w)/limit]
	}
	return out
}

// Sum is the sum of -log p over tokens and their number.
type Sum struct {
	Sum   float64 `json:"sum"`
	Count int     `json:"count"`
}

// Score is what one window gives: the sum over all its scored tokens, and over those of each part of the window.
type Score struct {
	Sum
	Bins []Sum `json:"bins"`
}

// Position is the mean of -log p over the tokens at places [From, To) of their windows.
type Position struct {
	From   int     `json:"from"`
	To     int     `json:"to"`
	Tokens int     `json:"tokens"`
	Loss   float64 `json:"loss"`
}

// binCount is the number of equal parts of a window whose losses are told apart; part b of a window of n tokens is
// [⌊b·n/binCount⌋, ⌊(b+1)·n/binCount⌋). Equal parts show a failure past the trained length at any length.
const binCount = 16

// binOf is the part of a window of n tokens that place t lies in: the largest b with ⌊b·n/binCount⌋ ≤ t.
func binOf(t, n int) int { return (binCount*(t+1) - 1) / n }

// Positions averages the parts over all windows of n tokens; parts in which nothing is scored are left out.
func Positions(n int, s []Score) []Position {
	var out []Position
	for b := range binCount {
		p := Position{From: b * n / binCount, To: (b + 1) * n / binCount}
		sum := 0.0
		for _, x := range s {
			sum, p.Tokens = sum+x.Bins[b].Sum, p.Tokens+x.Bins[b].Count
		}
		if p.Tokens > 0 {
			p.Loss = sum / float64(p.Tokens)
			out = append(out, p)
		}
	}
	return out
}

// Mean is the protocol's loss: the mean of window means, or over tokens.
func Mean(protocol string, s []Score) float64 {
	var m losses
	for _, x := range s {
		m.add(protocol, x)
	}
	return m.sum / m.n
}

// losses add up to a protocol's loss of the windows so far: their sum, and what it is divided by.
type losses struct{ sum, n float64 }

func (m *losses) add(protocol string, x Score) {
	switch {
	case x.Count == 0: // another rank's
	case protocol == "longlora":
		m.sum, m.n = m.sum+x.Sum.Sum/float64(x.Count), m.n+1
	default:
		m.sum, m.n = m.sum+x.Sum.Sum, m.n+float64(x.Count)
	}
}

// Stream is a text as token ids; data.IDs is one.
type Stream interface {
	Len() int
	Slice(lo, hi int) []int32
}

// ScoreWindow runs one window.
func ScoreWindow(r *model.Runner, stream Stream, w Window) (Score, error) {
	b := &model.Batch{IDs: stream.Slice(w.Lo, w.Hi), Targets: make([]int32, w.Hi-w.Lo), Docs: []int32{0,
		int32(w.Hi - w.Lo)}}
	for t := range b.Targets {
		b.Targets[t] = -1
		if next := w.Lo + t + 1; next < w.Hi && next >= w.From {
			b.Targets[t] = b.IDs[t+1]
		}
	}
	nll, err := r.Score(b)
	if err != nil {
		return Score{}, err
	}
	s := Score{Bins: make([]Sum, binCount)}
	for t, v := range nll {
		if b.Targets[t] >= 0 {
			s.Sum.add(float64(v))
			s.Bins[binOf(t+1, w.Hi-w.Lo)].add(float64(v)) // row t predicts the token at place t+1
		}
	}
	if sum := s.Sum.Sum; math.IsNaN(sum) || math.IsInf(sum, 0) {
		return s, errs.Numericf("window [%d, %d): the loss is %v; the weights hold NaN or infinity, or the computation "+
			"overflowed", w.Lo, w.Hi, sum)
	}
	return s, nil
}

func (s *Sum) add(v float64) { s.Sum, s.Count = s.Sum+v, s.Count+1 }

// ScoreAll runs windows that have no score yet; done is told of each.
func ScoreAll(ctx context.Context, r *model.Runner, stream Stream, ws []Window, have map[int]Score, done func(i int,
	s Score) error) ([]Score, error) {
	out := make([]Score, len(ws))
	for i, w := range ws {
		s, ok := have[i]
		if !ok {
			if err := ctx.Err(); err != nil {
				return nil, errs.Interruptedf("interrupted after %d of %d windows", i, len(ws))
			}
			var err error
			if s, err = ScoreWindow(r, stream, w); err != nil {
				return nil, err
			}
			if err := done(i, s); err != nil {
				return nil, fmt.Errorf("keeping a result: %w", err)
			}
		}
		out[i] = s
	}
	return out, nil
}
