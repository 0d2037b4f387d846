package model

import (
	"iter"
	"slices"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// chain is the transport of a sequence that ranks divide, where tiles are the spans of ranks: a span's halo comes from
// the rank before, and what is owed goes back to it. Of a halo that begins before that rank's span, that rank has the
// rest in its own: it passes that on, so each message goes one hop. A rank gives keys and values as soon as it has made
// them, on the way forward and, where they are made again or kept, on the way back; it takes those of the layer that
// comes next while it is at the one before.
//
// Runs of some heads are packed to be given, and unpacked when they have come; a run of all heads lies as it is sent.
type chain struct {
	heads
	b        ops.Backend
	g        *geometry
	link     ops.Link // nil where work is only counted
	out, in  []kv     // [run]: k, v (longest halo,heads,D) act; dk, dv of out float32
	back     bool     // on the way back
	lanes    [lanes]lane
	packed   [ops.Sides]ops.Passage // the last ones given that lie in out
	passedOn ops.Passage            // the last of the window that was given
}

// visit is what a message is about: the keys and values of a layer on the way forward or back, or the gradients.
type visit struct {
	layer int
	back  bool
}

// lane is the messages of one kind at one border of the span, in their order, and the next one.
type lane struct {
	all  []visit
	next int
	last ops.Passage
}

// The kinds: keys and values come from before and go to after, gradients the other way.
const (
	comes = iota
	goes
	owes
	isOwed
	lanes
)

// due reports whether a message is the next one, which it is not any more then.
func (y *lane) due(v visit) bool {
	if y.next == len(y.all) || y.all[y.next] != v {
		return false
	}
	y.next++
	return true
}

// newChain takes room for what is packed; with backward for gradients too.
func newChain(b ops.Backend, g *geometry, h heads, link ops.Link, act *ops.Arena, backward bool) *chain {
	c := &chain{heads: h, b: b, g: g, link: link}
	c.out, c.in = c.room(act, backward), c.room(act, false)
	c.lanes[comes].all = c.messages(g.own, backward)
	c.lanes[goes].all = c.messages(g.own+1, backward)
	if backward {
		c.lanes[owes].all = c.debts(g.own)
		c.lanes[isOwed].all = c.debts(g.own + 1)
	}
	return c
}

// room is a buffer for each run that is packed, long enough for any layer's.
func (c *chain) room(act *ops.Arena, grads bool) (out []kv) {
	var n []int
	for _, x := range c.g.ways {
		for r, run := range x.runs {
			if r == len(n) {
				n = append(n, 0)
			}
			if !c.whole(run) {
				n[r] = max(n[r], x.longest(r)*(run.h1-run.h0)*c.d)
			}
		}
	}
	for _, n := range n {
		y := kv{k: act.New(c.b.Act(), n), v: act.New(c.b.Act(), n)}
		if grads {
			y.dk, y.dv = act.New(tensor.F32, n), act.New(tensor.F32, n)
		}
		out = append(out, y)
	}
	return out
}

// whole reports whether a run is all heads.
func (c *chain) whole(run headRun) bool { return run.h1-run.h0 == c.hkv }

// visits are all messages of keys and values that there may be, in their order.
func (c *chain) visits() iter.Seq[visit] {
	return func(yield func(visit) bool) {
		for l := range c.g.reach {
			if !yield(visit{l, false}) {
				return
			}
		}
		for l := len(c.g.reach) - 1; l >= 0; l-- {
			if !yield(visit{l, true}) {
				return
			}
		}
	}
}

// needed reports whether tile i needs anything of those before it in a layer.
func (c *chain) needed(layer, i int) bool {
	return i > 0 && i < c.g.tiles() && c.g.reach[layer].halo(i) > 0
}

// messages are those of keys and values to tile i. The last one on the way forward is there for the way back too.
func (c *chain) messages(i int, backward bool) (all []visit) {
	var last int
	for v := range c.visits() {
		switch {
		case !c.needed(v.layer, i) || v.back && (!backward || v.layer == last):
			continue
		case !v.back:
			last = v.layer
		}
		all = append(all, v)
	}
	return all
}

// debts are those of gradients from tile i.
func (c *chain) debts(i int) (all []visit) {
	for v := range c.visits() {
		if v.back && c.needed(v.layer, i) {
			all = append(all, v)
		}
	}
	return all
}

// begins reports whether all that the next rank needs lies in this one's span: else the rest is passed on.
func (c *chain) begins(x *reach, y at) bool {
	return !slices.ContainsFunc(x.before[y.i+1], func(s span) bool { return s.lo < y.t0 })
}

// keep implements transport.
func (c *chain) keep(layer int, y at, k, v ops.Tensor) (t ticket) {
	if x := c.g.reach[layer]; c.begins(x, y) && c.lanes[goes].due(visit{layer, c.back}) {
		return c.give(ops.After, x, y.i+1, y.t0, k, v, false)
	}
	return t
}

// pass implements transport.
func (c *chain) pass(layer int, y at, k, v ops.Tensor, k0 int) (t ticket) {
	if x := c.g.reach[layer]; y.i+1 < c.g.tiles() && !c.begins(x, y) && c.lanes[goes].due(visit{layer, c.back}) {
		t = c.give(ops.After, x, y.i+1, k0, k, v, false)
		c.passedOn = t.hop
	}
	return t
}

// give gives tile i's halo, or what it owes, of rows of k and v that begin at token k0. The ticket is of what is not
// packed.
func (c *chain) give(to ops.Side, x *reach, i, k0 int, k, v ops.Tensor, grads bool) (t ticket) {
	own := &c.lanes[goes]
	if grads {
		own = &c.lanes[owes]
	}
	packed := false
	for r, run := range x.runs {
		s := x.needs(i, r)
		if s.n() == 0 {
			continue
		}
		a, b := k.Rows(s.lo-k0, s.hi-k0), v.Rows(s.lo-k0, s.hi-k0)
		if !c.whole(run) {
			c.wait(ticket{hop: c.packed[to]})
			packed, c.packed[to] = true, ops.Passage{}
			m, n := c.pack(run, 0, s.lo-k0, s.n()), s.n()*(run.h1-run.h0)*c.d
			into := c.out[r]
			if grads {
				into.k, into.v = into.dk, into.dv
			}
			c.b.CopyRows(into.k, k, m)
			c.b.CopyRows(into.v, v, m)
			a, b = into.k.Rows(0, n), into.v.Rows(0, n)
		}
		if c.link != nil {
			c.link.Give(to, a)
			own.last = c.link.Give(to, b)
		}
	}
	if packed {
		c.packed[to] = own.last
		return t
	}
	return ticket{hop: own.last}
}

// halo implements transport.
func (c *chain) halo(layer int, y at, k, v ops.Tensor) (t ticket) {
	own := &c.lanes[comes]
	if !own.due(visit{layer, c.back}) {
		return t
	}
	c.wait(ticket{hop: c.passedOn})
	c.passedOn = ops.Passage{}
	x := c.g.reach[layer]
	k0 := y.t0 - x.halo(y.i)
	for r, run := range x.runs {
		s := x.needs(y.i, r)
		if s.n() == 0 || c.link == nil {
			continue
		}
		a, b := k.Rows(s.lo-k0, s.hi-k0), v.Rows(s.lo-k0, s.hi-k0)
		if n := s.n() * (run.h1 - run.h0) * c.d; !c.whole(run) {
			a, b = c.in[r].k.Rows(0, n), c.in[r].v.Rows(0, n)
		}
		c.link.Take(ops.Before, a)
		own.last = c.link.Take(ops.Before, b)
	}
	return ticket{hop: own.last}
}

// come implements transport.
func (c *chain) come(layer int, y at, k, v ops.Tensor) {
	x := c.g.reach[layer]
	k0 := y.t0 - x.halo(y.i)
	for r, run := range x.runs {
		if s := x.needs(y.i, r); s.n() > 0 && !c.whole(run) {
			m := c.unpack(run, s.lo-k0, 0, s.n())
			c.b.CopyRows(k, c.in[r].k, m)
			c.b.CopyRows(v, c.in[r].v, m)
		}
	}
}

// owe implements transport.
func (c *chain) owe(layer int, y at, dk, dv ops.Tensor) (t ticket) {
	if x := c.g.reach[layer]; c.lanes[owes].due(visit{layer, true}) {
		return c.give(ops.Before, x, y.i, y.t0-x.halo(y.i), dk, dv, true)
	}
	return t
}

// owed implements transport.
func (c *chain) owed(layer int, y at, to []kv) (t ticket) {
	own := &c.lanes[isOwed]
	if !own.due(visit{layer, true}) {
		return t
	}
	x := c.g.reach[layer]
	for r, run := range x.runs {
		if n := x.owed(y.i, r).n() * (run.h1 - run.h0) * c.d; n > 0 && c.link != nil {
			c.link.Take(ops.After, to[r].dk.Rows(0, n))
			own.last = c.link.Take(ops.After, to[r].dv.Rows(0, n))
		}
	}
	return ticket{hop: own.last}
}

// turn implements transport.
func (c *chain) turn() { c.back = true }

// wait implements transport.
func (c *chain) wait(t ticket) {
	if t.hop.N > 0 {
		c.link.Wait(t.hop)
	}
}

// finish implements transport. What a rank that was stopped has not given yet the others wait for: it gives and takes
// the rest, with contents of no use.
func (c *chain) finish(w kv, stage []kv) {
	y := at{i: c.g.own}
	y.t0, y.t1 = c.g.tile(y.i)
	for v := range c.visits() {
		c.back = v.back
		c.halo(v.layer, y, w.k, w.v)
		x := c.g.reach[v.layer]
		if c.lanes[goes].due(v) {
			c.give(ops.After, x, y.i+1, y.t1-x.halo(y.i+1), w.k, w.v, false)
		}
		if v.back {
			c.owed(v.layer, y, stage)
			c.owe(v.layer, y, w.dk, w.dv)
		}
	}
	for i := range c.lanes {
		c.wait(ticket{hop: c.lanes[i].last})
	}
}
