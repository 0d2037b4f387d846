package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// store keeps, layer by layer, the keys and values that later tiles need, and on the way back the gradients
// that earlier tiles are owed.
//
// Where a layer attends fully it is dense: k and v of the whole sequence in one buffer a layer, in which the
// attention works in place. Otherwise each run of heads keeps the tokens that some later query needs, once, in
// host memory, and a tile's window is put together from them. Copies run beside the operations: what a layer
// keeps is sent while it goes on, and the next layer's halo is fetched as soon as the window is not wanted any more.
type store struct {
	b      ops.Backend
	g      *geometry
	hkv, d int
	dense  []kv   // [layer]: (N,Hkv,D), of dense layers
	runs   [][]kv // [layer][run]: k, v (stored,heads,D) act; dk, dv (longest halo,heads,D) float32; of the others
	win    kv     // the window of one tile: k, v act, dk, dv float32, (W,Hkv,D)
	stage  []kv   // [run]: dk, dv as in runs, on the device, with room for any layer's

	kept, owed      ops.Ticket // the last copies of what is kept, and owed
	haloOf, owedTo  place      // whose halo the window has, and whose debt is in stage
	haloIn, stageIn ops.Ticket // the last copies into the window, and into stage
	whole           bool       // the window has the tile's own keys and values too
}

// place is a layer of a tile; tiles count from 1 here, so that the zero place is none.
type place struct{ layer, tile int }

func placeOf(layer int, y at) place { return place{layer, y.i + 1} }

// kv are keys and values with their gradients.
type kv struct{ k, v, dk, dv ops.Tensor }

// at is one tile: its number and its interval of the sequence.
type at struct{ i, t0, t1 int }

// span is where a tile's kept tokens begin in the sequence and in the store.
type span struct{ lo, slot int }

// newStore takes what the geometry needs; with backward it has room for gradients too.
func newStore(b ops.Backend, g *geometry, hkv, d int, act, halo *ops.Arena, backward bool) *store {
	s := &store{b: b, g: g, hkv: hkv, d: d, dense: make([]kv, len(g.reach)), runs: make([][]kv, len(g.reach))}
	w := 0
	for _, x := range g.ways {
		if !x.dense() {
			w = max(w, x.window())
			x.cut()
		}
	}
	for l, x := range g.reach {
		if x.dense() {
			s.dense[l] = s.denseLayer(act, backward)
		}
	}
	if w > 0 && backward {
		s.win.dk, s.win.dv = act.New(tensor.F32, w, hkv, d), act.New(tensor.F32, w, hkv, d)
	}
	if w == 0 || g.tiles() == 1 {
		return s
	}
	s.win.k, s.win.v = act.New(b.Act(), w, hkv, d), act.New(b.Act(), w, hkv, d)
	for l, x := range g.reach {
		if !x.dense() {
			s.runs[l] = s.layer(x, halo, backward)
		}
	}
	if backward {
		for _, n := range s.stageSizes() {
			s.stage = append(s.stage, kv{dk: act.New(tensor.F32, n), dv: act.New(tensor.F32, n)})
		}
	}
	return s
}

// stageSizes are, by the number of a run, the most elements of any layer's debt.
func (s *store) stageSizes() []int {
	var n []int
	for l := range s.runs {
		for r, y := range s.runs[l] {
			if r == len(n) {
				n = append(n, 0)
			}
			n[r] = max(n[r], y.dk.Elems())
		}
	}
	return n
}

// denseLayer takes a dense layer's buffers.
func (s *store) denseLayer(act *ops.Arena, backward bool) kv {
	n := s.g.n
	last, _ := s.g.tile(s.g.tiles() - 1)
	y := kv{k: act.New(s.b.Act(), n, s.hkv, s.d), v: act.New(s.b.Act(), n, s.hkv, s.d)}
	if backward {
		y.dk, y.dv = act.New(tensor.F32, n, s.hkv, s.d), act.New(tensor.F32, n, s.hkv, s.d)
		s.b.Zero(y.dk.Rows(0, last))
		s.b.Zero(y.dv.Rows(0, last))
	}
	return y
}

// cut computes the spans of all tiles.
func (x *reach) cut() {
	slot := make([]int, len(x.runs))
	x.longest = make([]int, len(x.runs))
	for i := range x.g.tiles() {
		t0, t1 := x.g.tile(i)
		row := make([]span, len(x.runs))
		for r, run := range x.runs {
			lo := t1
			if i+1 < x.g.tiles() {
				from := x.haloLo(t1, run)
				lo, x.longest[r] = max(t0, from), max(x.longest[r], t1-from)
			}
			row[r] = span{lo, slot[r]}
			slot[r] += t1 - lo
		}
		x.spans = append(x.spans, row)
	}
	x.spans = append(x.spans, make([]span, len(slot)))
	for r, n := range slot {
		x.spans[x.g.tiles()][r].slot = n
	}
}

// layer takes one layer's stores.
func (s *store) layer(x *reach, halo *ops.Arena, backward bool) []kv {
	var out []kv
	for r, run := range x.runs {
		n, h := x.spans[s.g.tiles()][r].slot, run.h1-run.h0
		y := kv{k: halo.New(s.b.Act(), n, h, s.d), v: halo.New(s.b.Act(), n, h, s.d)}
		if backward {
			y.dk, y.dv = halo.New(tensor.F32, x.longest[r], h, s.d), halo.New(tensor.F32, x.longest[r], h, s.d)
		}
		out = append(out, y)
	}
	return out
}

// own is where tile i's keys and values of a layer are written: in place when dense, else in the given buffers.
func (s *store) own(layer int, y at, k, v ops.Tensor) (ops.Tensor, ops.Tensor) {
	if !s.g.reach[layer].dense() {
		return k, v
	}
	return s.dense[layer].k.Rows(y.t0, y.t1), s.dense[layer].v.Rows(y.t0, y.t1)
}

// keep sends what later tiles need of tile i's keys and values to the store.
func (s *store) keep(layer int, y at, k, v ops.Tensor) {
	x := s.g.reach[layer]
	if x.dense() || y.i+1 >= s.g.tiles() {
		return
	}
	for r, run := range x.runs {
		sp, to := x.spans[y.i][r], s.runs[layer][r]
		if n := y.t1 - sp.lo; n > 0 {
			c := s.pack(run, sp.slot, sp.lo-y.t0, n)
			s.b.Send(to.k, k, c)
			s.kept = s.b.Send(to.v, v, c)
		}
	}
}

// settle makes sure that what was kept last can be overwritten.
func (s *store) settle() { s.b.Wait(s.kept) }

// ahead begins to fetch the halo of tile y in a layer, now that the window is not wanted any more.
func (s *store) ahead(layer int, y at) {
	if layer < 0 || layer >= len(s.g.reach) || s.haloOf == placeOf(layer, y) {
		return
	}
	x := s.g.reach[layer]
	if x.dense() || x.halo(y.i) == 0 {
		return
	}
	s.haloOf, s.whole = placeOf(layer, y), false
	k0 := y.t0 - x.halo(y.i)
	for r, run := range x.runs {
		lo, from := x.haloLo(y.t0, run), s.runs[layer][r]
		if n := y.t0 - lo; n > 0 {
			c := s.unpack(run, lo-k0, x.spans[y.i][r].slot-n, n) // kept tokens up to t0 end where tile i's begin
			s.b.Fetch(s.win.k, from.k, c)
			s.haloIn = s.b.Fetch(s.win.v, from.v, c)
		}
	}
}

// window gives the keys and values that tile i's queries see, and the sequence index of their first row.
func (s *store) window(layer int, y at, k, v ops.Tensor) (wk, wv ops.Tensor, k0 int) {
	x := s.g.reach[layer]
	if x.dense() {
		return s.dense[layer].k.Rows(0, y.t1), s.dense[layer].v.Rows(0, y.t1), 0
	}
	halo, n := x.halo(y.i), y.t1-y.t0
	if halo == 0 {
		return k, v, y.t0
	}
	s.ahead(layer, y)
	s.b.Wait(s.haloIn)
	if !s.whole {
		wide := s.hkv * s.d
		own := ops.Block{DstOff: halo * wide, DstStride: wide, SrcStride: wide, Rows: n, Cols: wide}
		s.b.CopyRows(s.win.k, k, own)
		s.b.CopyRows(s.win.v, v, own)
		s.whole = true
	}
	return s.win.k.Rows(0, halo+n), s.win.v.Rows(0, halo+n), y.t0 - halo
}

// aheadOwed begins to fetch what later tiles owe tile y in a layer, now that the stage is not wanted any more.
func (s *store) aheadOwed(layer int, y at) {
	if layer < 0 || y.i+1 >= s.g.tiles() || s.owedTo == placeOf(layer, y) {
		return
	}
	x := s.g.reach[layer]
	if x.dense() {
		return
	}
	s.owedTo = placeOf(layer, y)
	for r, run := range x.runs {
		if n := y.t1 - x.haloLo(y.t1, run); n > 0 {
			debt := s.runs[layer][r]
			dk, dv := debt.dk.Rows(0, n), debt.dv.Rows(0, n)
			s.b.Fetch(s.stage[r].dk.Rows(0, dk.Elems()), dk, ops.Whole(dk))
			s.stageIn = s.b.Fetch(s.stage[r].dv.Rows(0, dv.Elems()), dv, ops.Whole(dv))
		}
	}
}

// grads gives float32 sums over the same rows as window, holding what later tiles have added already. The last tile's
// own rows hold anything: its attention is told so (see pass.attn).
func (s *store) grads(layer int, y at) (dk, dv ops.Tensor) {
	t0, t1, x := y.t0, y.t1, s.g.reach[layer]
	if x.dense() {
		return s.dense[layer].dk.Rows(0, t1), s.dense[layer].dv.Rows(0, t1)
	}
	k0 := t0 - x.halo(y.i)
	dk, dv = s.win.dk.Rows(0, t1-k0), s.win.dv.Rows(0, t1-k0)
	s.b.Wait(s.owed)
	stale := dk.Dim(0)
	if y.i+1 == s.g.tiles() {
		stale = t0 - k0
	}
	s.b.Zero(dk.Rows(0, stale))
	s.b.Zero(dv.Rows(0, stale))
	if y.i+1 < s.g.tiles() {
		s.aheadOwed(layer, y)
		s.b.Wait(s.stageIn)
		for r, run := range x.runs {
			lo := x.haloLo(t1, run)
			c := s.unpack(run, lo-k0, 0, t1-lo)
			s.b.CopyRows(dk, s.stage[r].dk, c)
			s.b.CopyRows(dv, s.stage[r].dv, c)
		}
		s.aheadOwed(layer-1, y)
	}
	return dk, dv
}

// owe sends the gradients of tile i's halo to the store, for the tiles before it.
func (s *store) owe(layer int, y at, dk, dv ops.Tensor) {
	x := s.g.reach[layer]
	if x.dense() || y.i == 0 {
		return
	}
	k0 := y.t0 - x.halo(y.i)
	for r, run := range x.runs {
		lo, to := x.haloLo(y.t0, run), s.runs[layer][r]
		if n := y.t0 - lo; n > 0 {
			c := s.pack(run, 0, lo-k0, n)
			s.b.Send(to.dk, dk, c)
			s.owed = s.b.Send(to.dv, dv, c)
		}
	}
}

// pack is the block of n tokens of a run's heads that goes from row src of an (·,Hkv,D) buffer to row dst of a compact
// (·,heads,D) one.
func (s *store) pack(run headRun, dst, src, n int) ops.Block {
	wide, cols := s.hkv*s.d, (run.h1-run.h0)*s.d
	return ops.Block{DstOff: dst * cols, DstStride: cols, SrcOff: src*wide + run.h0*s.d, SrcStride: wide, Rows: n, Cols: cols}
}

// unpack is the block of the way back.
func (s *store) unpack(run headRun, dst, src, n int) ops.Block {
	c := s.pack(run, src, dst, n)
	return ops.Block{DstOff: c.SrcOff, DstStride: c.SrcStride, SrcOff: c.DstOff, SrcStride: c.DstStride, Rows: n, Cols: c.Cols}
}
