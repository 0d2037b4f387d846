package eval

import (
	"context"

	"longlora/internal/errs"
)

// Encoder is what the tasks that ask for something need of a tokenizer.
type Encoder interface {
	Encode(text string) ([]int32, error)
	BOS() (int32, bool)
}

// stoppable is an encoder that fails once the work is to stop: before the first prompt all trials are looked at, which
// may be many thousands.
type stoppable struct {
	Encoder
	ctx context.Context
}

func (s stoppable) Encode(text string) ([]int32, error) {
	if s.ctx.Err() != nil {
		return nil, errs.Interruptedf("interrupted before the first prompt")
	}
	return s.Encoder.Encode(text)
}

// encoding encodes texts and keeps the first fault: a search over many lengths asks for it once, at its end.
type encoding struct {
	enc Encoder
	err error
}

func (e *encoding) ids(text string) []int32 {
	ids, err := e.enc.Encode(text)
	if e.err == nil {
		e.err = err
	}
	return ids
}

func (e *encoding) withBOS(text string) []int32 {
	ids := e.ids(text)
	if id, ok := e.enc.BOS(); ok {
		ids = append([]int32{id}, ids...)
	}
	return ids
}

// leastCtx is the least length, from ctx on, that is no shorter than what takes says of it: what is drawn, and so what
// it takes, is another at each length.
func leastCtx(ctx int, takes func(ctx int) (int, error)) (int, error) {
	for {
		n, err := takes(ctx)
		if err != nil || n <= ctx {
			return ctx, err
		}
		ctx = n
	}
}

// longEnough refuses a length that is shorter than what takes says of it, and names one that is not.
func longEnough(ctx int, takes func(ctx int) (int, error)) error {
	least, err := leastCtx(ctx, takes)
	if err == nil && least > ctx {
		err = errs.Dataf("%s %d is too short: the fixed words take %d tokens; give at least that", errs.Option("ctx"),
			ctx, least)
	}
	return err
}

// most is the largest n, from least on, with size(n) ≤ ctx. size must grow with n. What it costs is encoding whole
// prompts, so it does not only halve: a unit of filler takes about as many tokens as those before it, and that says
// where ctx lies within a unit or two.
func most(size func(n int) int, ctx, least int) (int, error) {
	const enough = 16 // units to see how many tokens they give
	lo, below := least, size(least)
	if below > ctx {
		return 0, errs.Dataf("%s %d is too short: the fixed words take %d tokens", errs.Option("ctx"), ctx, below)
	}
	hi, above := lo+enough, size(lo+enough)
	for above <= ctx { // lo and hi both fit
		rate := float64(above-below) / float64(hi-lo)
		next := hi + 1
		if rate > 0 {
			next += int(float64(ctx-above) / rate)
		}
		if rate <= 0 || next > enough*ctx+least {
			return 0, errs.Dataf("the filler gives no tokens with this tokenizer; give it other words")
		}
		lo, below = hi, above
		hi, above = next, size(next)
	}
	for halve := false; hi-lo > 1; {
		was := hi - lo
		n := lo + was/2
		if !halve {
			n = lo + int(float64(was)*float64(ctx-below)/float64(above-below))
			n = min(max(n, lo+1), hi-1)
		}
		if s := size(n); s <= ctx {
			lo, below = n, s
		} else {
			hi, above = n, s
		}
		halve = !halve && hi-lo > was/2 // a guess that left most of it is followed by a halving
	}
	return lo, nil
}
