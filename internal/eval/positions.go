package eval

import (
	"fmt"
	"io"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/rope"
)

// Asked are the positions that are asked for.
type Asked struct {
	Request *rope.Request // but for the context; nil: those that a model or an adapter has
	BaseCtx int           // a pre-training length that was given, else 0
}

// told are notes that were said, each once.
type told map[string]bool

// positions gives the positions to read a model of n tokens with, and says on log what is to be known of them.
func (t told) positions(base *load.Base, adapter string, asked Asked, n int, log io.Writer) (rope.Positions, error) {
	var r *rope.Request
	if asked.Request != nil {
		at := asked.Request.At(n)
		r = &at
	}
	p, err := base.Reading(adapter, r)
	if err == nil && r == nil && asked.BaseCtx > 0 {
		p.Note("the pre-training length of %d tokens changes nothing: the positions are used as they are; %s or "+
			"%s would set others", asked.BaseCtx, errs.Option("rope"), errs.Option("rope-factor"))
	}
	for _, s := range p.Told() {
		if !t[s] {
			t[s] = true
			fmt.Fprintln(log, s)
		}
	}
	return p.Positions, err
}
