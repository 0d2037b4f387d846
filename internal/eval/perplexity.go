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

// Limit keeps all windows, or those numbered ⌊j·W/limit⌋.
func Limit(w []Window, limit int) []Window {
	if limit <= 0 || len(w) <= limit {
		return w
	}
	out := make([]Window, limit)
	for j := range out {
		out[j] = w[j*len(w)/limit]
	}
	return out
}

// Score is one window's sum of -log p and the number of tokens scored.
type Score struct {
	Sum   float64 `json:"sum"`
	Count int     `json:"count"`
}

// Mean is the protocol's loss: the mean of window means, or over tokens.
func Mean(protocol string, s []Score) float64 {
	sum, n := 0.0, 0.0
	for _, x := range s {
		if protocol == "longlora" {
			sum, n = sum+x.Sum/float64(x.Count), n+1
		} else {
			sum, n = sum+x.Sum, n+float64(x.Count)
		}
	}
	return sum / n
}

// Stream is a text as token ids; data.IDs is one.
type Stream interface {
	Len() int
	Slice(lo, hi int) []int32
}

// ScoreWindow runs one window.
func ScoreWindow(r *model.Runner, stream Stream, w Window) (Score, error) {
	b := &model.Batch{IDs: stream.Slice(w.Lo, w.Hi), Targets: make([]int32, w.Hi-w.Lo), Docs: []int32{0, int32(w.Hi - w.Lo)}}
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
	var s Score
	for t, v := range nll {
		if b.Targets[t] >= 0 {
			s.Sum, s.Count = s.Sum+float64(v), s.Count+1
		}
	}
	if math.IsNaN(s.Sum) || math.IsInf(s.Sum, 0) {
		return s, errs.Numericf("window [%d, %d): the loss is %v; the weights hold NaN or infinity, or the computation overflowed", w.Lo, w.Hi, s.Sum)
	}
	return s, nil
}

// ScoreAll runs windows that have no score yet; done is told of each.
func ScoreAll(ctx context.Context, r *model.Runner, stream Stream, ws []Window, have map[int]Score, done func(i int, s Score) error) ([]Score, error) {
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
