package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// transport is how halos travel from the tiles that make them to those that need them (halo.go says which tokens those
// are), and the gradients that are owed for them back. k, v, dk and dv are rows of tokens, all heads wide. A call
// begins copies; they are done when its ticket's are, the zero ticket's where there was nothing to copy.
type transport interface {
	// keep takes what later tiles need of the keys and values of tile y. k, v (T,Hkv,D) act
	keep(layer int, y at, k, v ops.Tensor) ticket
	// halo brings tile y's halo for the first rows of k and v (≥ halo,Hkv,D) act, the tokens up to the tile's first. It is
	// there after wait and come.
	halo(layer int, y at, k, v ops.Tensor) ticket
	// come puts a halo that halo brought into its rows.
	come(layer int, y at, k, v ops.Tensor)
	// pass says that k and v (≥ halo+T,Hkv,D) act hold tile y's halo and its own, from token k0 on.
	pass(layer int, y at, k, v ops.Tensor, k0 int) ticket
	// owe takes the gradients of tile y's halo, the first rows of dk and dv (≥ halo,Hkv,D) float32, for the tiles before
	// it. They stand in the place of what later tiles owed those.
	owe(layer int, y at, dk, dv ops.Tensor) ticket
	// owed brings what later tiles owe tile y and those before it: run r's into to[r], (tokens·heads·D) float32.
	owed(layer int, y at, to []kv) ticket
	// wait holds operations up until a ticket's copies are done.
	wait(t ticket)
	// turn says that a tile goes back from here.
	turn()
	// finish ends all copies; win and stage are room for what is still to come.
	finish(win kv, stage []kv)
}

// ticket is of copies to and from host memory, or between ranks.
type ticket struct {
	copy ops.Ticket
	hop  ops.Passage
}

// some reports whether there was anything to copy.
func (t ticket) some() bool { return t != ticket{} }

// kv are keys and values, or their gradients.
type kv struct{ k, v, dk, dv ops.Tensor }

// at is one tile: its number and its interval of the sequence.
type at struct{ i, t0, t1 int }

// heads says how wide a token's keys are.
type heads struct{ hkv, d int }

// pack is the block of n tokens of a run's heads that goes from row src of an (·,Hkv,D) buffer to row dst of a compact
// (·,heads,D) one.
func (h heads) pack(run headRun, dst, src, n int) ops.Block {
	wide, cols := h.hkv*h.d, (run.h1-run.h0)*h.d
	return ops.Block{DstOff: dst * cols, DstStride: cols, SrcOff: src*wide + run.h0*h.d, SrcStride: wide, Rows: n,
		Cols: cols}
}

// unpack is the block of the way back.
func (h heads) unpack(run headRun, dst, src, n int) ops.Block {
	c := h.pack(run, src, dst, n)
	return ops.Block{DstOff: c.SrcOff, DstStride: c.SrcStride, SrcOff: c.DstOff, SrcStride: c.DstStride, Rows: n,
		Cols: c.Cols}
}

// hostMemory is the transport of tiles that run one after the other on one device: each run of heads keeps the tokens
// that some later query needs, once and in their order, in host memory. Copies run beside the operations.
type hostMemory struct {
	heads
	b     ops.Backend
	g     *geometry
	slots map[*reach][][]int // [tile][run] where a tile's kept tokens begin, followed by where they end
	runs  [][]kv             // [layer][run]: k, v (kept,heads,D) act; dk, dv (longest halo,heads,D) float32
}

// newHostMemory takes room for the layers that are not dense; with backward for what is owed too.
func newHostMemory(b ops.Backend, g *geometry, h heads, arena *ops.Arena, backward bool) *hostMemory {
	m := &hostMemory{heads: h, b: b, g: g, slots: map[*reach][][]int{}, runs: make([][]kv, len(g.reach))}
	for _, x := range g.ways {
		if !x.dense() {
			m.slots[x] = x.slots()
		}
	}
	for l, x := range g.reach {
		if x.dense() {
			continue
		}
		arena.Alike(x, func() { m.runs[l] = m.newLayer(x, arena, backward) })
	}
	return m
}

// newLayer takes room for one layer.
func (m *hostMemory) newLayer(x *reach, arena *ops.Arena, backward bool) (runs []kv) {
	for r, run := range x.runs {
		n, wide := m.slots[x][m.g.tiles()][r], run.h1-run.h0
		y := kv{k: arena.New(m.b.Act(), n, wide, m.d), v: arena.New(m.b.Act(), n, wide, m.d)}
		if backward {
			n = x.longest(r)
			y.dk, y.dv = arena.New(tensor.F32, n, wide, m.d), arena.New(tensor.F32, n, wide, m.d)
		}
		runs = append(runs, y)
	}
	return runs
}

// slots is where each tile's kept tokens lie where all are kept one after the other.
func (x *reach) slots() [][]int {
	all := [][]int{make([]int, len(x.runs))}
	for i := range x.g.tiles() {
		next := make([]int, len(x.runs))
		for r := range next {
			next[r] = all[i][r] + x.keeps(i, r).n()
		}
		all = append(all, next)
	}
	return all
}

// keep implements transport.
func (m *hostMemory) keep(layer int, y at, k, v ops.Tensor) (t ticket) {
	x := m.g.reach[layer]
	for r, run := range x.runs {
		if s, to := x.keeps(y.i, r), m.runs[layer][r]; s.n() > 0 {
			c := m.pack(run, m.slots[x][y.i][r], s.lo-y.t0, s.n())
			m.b.Send(to.k, k, c)
			t.copy = m.b.Send(to.v, v, c)
		}
	}
	return t
}

// halo implements transport. Kept tokens up to the tile's first end where its own begin.
func (m *hostMemory) halo(layer int, y at, k, v ops.Tensor) (t ticket) {
	x := m.g.reach[layer]
	k0 := y.t0 - x.halo(y.i)
	for r, run := range x.runs {
		if s, from := x.needs(y.i, r), m.runs[layer][r]; s.n() > 0 {
			c := m.unpack(run, s.lo-k0, m.slots[x][y.i][r]-s.n(), s.n())
			m.b.Fetch(k, from.k, c)
			t.copy = m.b.Fetch(v, from.v, c)
		}
	}
	return t
}

// owe implements transport.
func (m *hostMemory) owe(layer int, y at, dk, dv ops.Tensor) (t ticket) {
	x := m.g.reach[layer]
	k0 := y.t0 - x.halo(y.i)
	for r, run := range x.runs {
		if s, to := x.needs(y.i, r), m.runs[layer][r]; s.n() > 0 {
			c := m.pack(run, 0, s.lo-k0, s.n())
			m.b.Send(to.dk, dk, c)
			t.copy = m.b.Send(to.dv, dv, c)
		}
	}
	return t
}

// owed implements transport.
func (m *hostMemory) owed(layer int, y at, to []kv) (t ticket) {
	x := m.g.reach[layer]
	for r := range x.runs {
		if n := x.owed(y.i, r).n(); n > 0 {
			debt := m.runs[layer][r]
			dk, dv := debt.dk.Rows(0, n), debt.dv.Rows(0, n)
			m.b.Fetch(to[r].dk.Rows(0, dk.Elems()), dk, ops.Whole(dk))
			t.copy = m.b.Fetch(to[r].dv.Rows(0, dv.Elems()), dv, ops.Whole(dv))
		}
	}
	return t
}

// come, pass, turn and finish implement transport: halos come into their rows, and the backend waits for its copies.
func (m *hostMemory) come(int, at, ops.Tensor, ops.Tensor)             {}
func (m *hostMemory) pass(int, at, ops.Tensor, ops.Tensor, int) ticket { return ticket{} }
func (m *hostMemory) turn()                                            {}
func (m *hostMemory) finish(kv, []kv)                                  {}

// wait implements transport.
func (m *hostMemory) wait(t ticket) { m.b.Wait(t.copy) }
