package eval

import (
	"fmt"
	"io"

	"longlora/internal/config"
	"longlora/internal/load"
	"longlora/internal/rope"
)

// told are notes that were said, each once.
type told map[string]bool

// positions gives the positions to read a model of n tokens with, and says on log what is to be known of them.
func (t told) positions(base *load.Base, adapter string, r *config.Rope, v *config.Values, n int,
	log io.Writer) (rope.Positions, error) {
	var asked *rope.Request
	if r.Asked(v) {
		asked = &rope.Request{Rope: r.Rope, Factor: r.Factor, BaseCtx: r.BaseCtx, Ctx: n}
	}
	p, err := base.Reading(adapter, asked)
	if err == nil && asked == nil && v.Explicit("base-ctx") {
		p.Note("the pre-training length of %d tokens changes nothing: the positions are used as they are; --rope or "+
			"--rope-factor would set others", r.BaseCtx)
	}
	for _, s := range p.Told() {
		if !t[s] {
			t[s] = true
			fmt.Fprintln(log, s)
		}
	}
	return p.Positions, err
}
