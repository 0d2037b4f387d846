package eval

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/rope"
)

// room makes a prompt fit the length that the model's positions are made for, or says what would. most is how many
// tokens are generated at most.
func room(g Continuation, base *load.Base, ids []int32, said told, log io.Writer) (fitting []int32, most int,
	err error) {
	p, err := said.positions(base, g.Adapter, g.Positions, len(ids)+g.MaxTokens, log)
	if err != nil {
		return nil, 0, err
	}
	limit := p.Reads(g.Positions.BaseCtx)
	most = g.MaxTokens
	if g.Fewer {
		least := 1
		if g.Overlong == "truncate" && len(ids) >= limit { // the middle of the prompt makes room for an answer
			least = max(1, limit/2)
		}
		most = min(most, max(least, limit-len(ids)))
	}
	if len(ids)+most <= limit {
		return ids, most, nil
	}
	if g.Overlong == "error" || most >= limit {
		and := ""
		if len(ids) < limit {
			and = fmt.Sprintf(" and %s %d", errs.Option("max-tokens"), most)
		}
		return nil, 0, errs.Usagef("the prompt's %d tokens%s are more than the %d that the model's positions reach; %s",
			len(ids), and, limit, shorter(g, base, len(ids), most, limit))
	}
	keep := limit - most
	return slices.Concat(ids[:keep-keep/2], ids[len(ids)-keep/2:]), most, nil
}

// shorter says what brings a prompt of n tokens and most more within the limit: each of the ways that do.
func shorter(g Continuation, base *load.Base, n, most, limit int) string {
	var ways []string
	if n < limit {
		ways = append(ways, fmt.Sprintf("%s %d at most", errs.Option("max-tokens"), limit-n))
	}
	if g.Overlong == "error" && (most < limit || n >= limit) {
		way := errs.Option("overlong").String() + " truncate"
		if most >= limit {
			way += fmt.Sprintf(" with %s %d at most", errs.Option("max-tokens"), limit-1)
		}
		ways = append(ways, way+", which leaves out the prompt's middle")
	}
	if way := stretching(g, base, n+most); way != "" {
		ways = append(ways, way+", which stretches the positions")
	}
	if len(ways) == 0 {
		return "give a shorter prompt"
	}
	return "give " + strings.Join(ways, "; or ")
}

// stretching are the options with which a model's positions reach n tokens; "" where none do.
func stretching(g Continuation, base *load.Base, n int) string {
	r := rope.Request{BaseCtx: g.Positions.BaseCtx}
	if asked := g.Positions.Request; asked != nil {
		r = *asked
	}
	r = r.At(n)
	p, err := base.Reading(g.Adapter, &r)
	if errs.Code(err) == int(errs.Usage) && r.BaseCtx == 0 { // the pre-training length, which a factor counts from
		return errs.Option("rope-factor").String() + " with " + errs.Option("base-ctx").String()
	}
	if err != nil {
		return ""
	}
	r.Factor = p.Factor
	if p, err = base.Reading(g.Adapter, &r); err != nil || p.Reads(r.BaseCtx) < n {
		return ""
	}
	return fmt.Sprintf("%s %g", errs.Option("rope-factor"), r.Factor)
}
