package model

import "longlora/internal/ops"

// part is one of the pieces in which a layer's kept activations are moved, each as soon as it is made.
type part uint8

const (
	partIn  part = iota // xin
	partQKV             // q, k and v
	partOut             // o
	partMid             // xmid, and what attention adds
	partMLP             // gate and up, and what the MLP adds
	parts
)

// holds reports whether a layer that keeps k keeps the part.
func (k Keep) holds(x part) bool {
	switch x {
	case partIn:
		return true
	case partOut:
		return k <= KeepOut
	case partMLP:
		return k == KeepAll
	default:
		return k <= KeepAttn
	}
}

// part lists the tensors of a part; those that the family has not are None.
func (s *saved) part(x part) []*ops.Tensor {
	switch x {
	case partIn:
		return []*ops.Tensor{&s.xin}
	case partQKV:
		return []*ops.Tensor{&s.q, &s.k, &s.v}
	case partOut:
		return []*ops.Tensor{&s.o}
	case partMid:
		return []*ops.Tensor{&s.xmid, &s.attn}
	default:
		return []*ops.Tensor{&s.g, &s.u, &s.mlp}
	}
}

// newPart takes room for a part of t tokens.
func (r *Runner) newPart(a *ops.Arena, s *saved, x part, t int) {
	act, m := r.B.Act(), r.M
	switch x {
	case partIn:
		s.xin = a.New(act, t, m.C)
	case partQKV:
		s.q, s.k, s.v = a.New(act, t, m.H, m.D), a.New(act, t, m.Hkv, m.D), a.New(act, t, m.Hkv, m.D)
	case partOut:
		s.o = a.New(act, t, m.H, m.D)
	case partMid:
		s.xmid = a.New(act, t, m.C)
		if m.Has(AttnOut) {
			s.attn = a.New(act, t, m.C)
		}
	case partMLP:
		if s.g = a.New(act, t, m.F); m.Has(Up) {
			s.u = a.New(act, t, m.F)
		}
		if m.Has(MLPOut) {
			s.mlp = a.New(act, t, m.C)
		}
	}
}

// newParts takes room for the parts that a layer keeps.
func (r *Runner) newParts(a *ops.Arena, s *saved, k Keep, t int) {
	for x := range parts {
		if k.holds(x) {
			r.newPart(a, s, x, t)
		}
	}
}

// slots is how many layers' parts the moved layers share on the device: one is worked on while the other is copied.
const slots = 2

// mover moves what some layers keep to host memory and back. These layers take turns in the slots: on the way forward
// each part is sent as soon as it is made, and on the way back a slot is filled again as soon as the layer in it is
// done with. The last turns stay in their slots.
type mover struct {
	b    ops.Backend
	keep []Keep                   // [layer]
	turn []int                    // [layer] -1 for one with memory of its own
	of   []int                    // [turn] its layer
	host []saved                  // [turn] where its parts wait; none for the last turns
	busy [slots][parts]ops.Ticket // the last copy of a slot's part
}

// newMover takes the slots and the host memory, and sets the moved layers' parts in s, where there is any.
func (r *Runner) newMover(t int, s []saved) mover {
	L := r.M.L
	c := mover{b: r.B, keep: make([]Keep, L), turn: make([]int, L), of: make([]int, 0, r.turns())}
	biggest := KeepInput
	for l := range L {
		c.keep[l], c.turn[l] = r.KeepOf(l, L), -1
		if r.inTurn(l, L) {
			c.turn[l] = len(c.of)
			c.of = append(c.of, l)
			biggest = min(biggest, c.keep[l])
		}
	}
	if len(c.of) == 0 {
		return c
	}
	var slot [slots]saved
	for i := range slot {
		r.newParts(r.Act, &slot[i], biggest, t)
	}
	moved := len(c.of) - slots
	if s != nil {
		c.host = make([]saved, moved)
	}
	for turn, l := range c.of {
		for x := range parts {
			if s != nil && c.keep[l].holds(x) {
				s[l].borrow(&slot[turn%slots], x)
			}
		}
		if turn >= moved {
			continue
		}
		var y saved
		kind := layerKind{t: t, keep: c.keep[l]}
		if r.Host.Alike(kind, func() { r.newParts(r.Host, &y, kind.keep, t) }); s != nil {
			c.host[turn] = y
		}
	}
	return c
}

// borrow takes a part's memory from another.
func (s *saved) borrow(from *saved, x part) {
	to := s.part(x)
	for i, t := range from.part(x) {
		*to[i] = *t
	}
}

// claim makes sure that a part of layer l can be written, or that what was fetched of it can be read.
func (c *mover) claim(l int, x part) {
	if turn := c.turn[l]; turn >= 0 && c.keep[l].holds(x) {
		c.b.Wait(c.busy[turn%slots][x])
	}
}

// made sends a part of layer l, of n tokens, to the host.
func (c *mover) made(l int, s *saved, x part, n int) {
	turn := c.turn[l]
	if turn < 0 || turn >= len(c.host) || !c.keep[l].holds(x) {
		return
	}
	to := c.host[turn].part(x)
	for i, t := range s.part(x) {
		if t.None() {
			continue
		}
		from := t.Rows(0, n)
		c.busy[turn%slots][x] = c.b.Send(to[i].Rows(0, n), from, ops.Whole(from))
	}
}

// back makes sure that all parts of layer l are on the device.
func (c *mover) back(l int) {
	for x := range parts {
		c.claim(l, x)
	}
}

// done says that layer l's slot is not wanted any more; the parts, of n tokens, of the layer that had it before are
// fetched.
func (c *mover) done(l int, s []saved, n int) {
	turn := c.turn[l] - slots
	if turn < 0 {
		return
	}
	l = c.of[turn]
	for x := range parts {
		if !c.keep[l].holds(x) {
			continue
		}
		from := c.host[turn].part(x)
		for i, t := range s[l].part(x) {
			if t.None() {
				continue
			}
			to := t.Rows(0, n)
			c.busy[turn%slots][x] = c.b.Fetch(to, from[i].Rows(0, n), ops.Whole(to))
		}
	}
}
