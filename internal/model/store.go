package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// store gives each tile the keys and values that its queries see, layer by layer, and on the way back the gradients
// that later tiles owe it.
//
// Where a layer attends fully it is dense: k and v of the whole sequence in one buffer a layer, in which the attention
// works in place. Otherwise a tile's window is put together from its own and from its halo, which the transport brings:
// what a layer keeps is on its way while the layer goes on, and the next layer's halo as soon as the window is not
// wanted any more.
type store struct {
	heads
	b      ops.Backend
	g      *geometry
	travel transport // nil where no tile needs anything of another
	dense  []kv      // [layer]: (N,Hkv,D), of dense layers
	win    kv        // the window of one tile, (W,Hkv,D): k, v act, dk, dv float32, or act where there is no other tile
	stage  []kv      // [run]: dk, dv as transport.owed brings them, with room for any layer's

	kept, gone      ticket // the last copies of what is kept, and of what is owed to earlier tiles
	haloOf, owedTo  place  // whose halo the window has, and whose debt is in stage
	haloIn, stageIn ticket // the last copies into the window, and into stage
	whole           bool   // the window has the tile's own keys and values too
	first           int    // where those begin in it, of a span in strips
}

// place is a layer of a tile; tiles count from 1 here, so that the zero place is none.
type place struct{ layer, tile int }

func placeOf(layer int, y at) place { return place{layer, y.i + 1} }

// newStore takes what the geometry needs; with backward it has room for gradients too.
func newStore(b ops.Backend, g *geometry, h heads, link ops.Link, act, host *ops.Arena, backward bool) *store {
	s := &store{heads: h, b: b, g: g, dense: make([]kv, len(g.reach))}
	w := 0
	for _, x := range g.ways {
		if !x.dense() {
			w = max(w, x.window())
		}
	}
	for l, x := range g.reach {
		if x.dense() {
			s.dense[l] = s.denseLayer(act, backward)
		}
	}
	if g.strip > 0 {
		for _, x := range g.ways {
			s.first = max(s.first, x.halo(g.own))
		}
	}
	if w > 0 && backward {
		d := tensor.F32
		if g.tiles() == 1 { // nothing else adds to them
			d = b.Act()
		}
		s.win.dk, s.win.dv = act.New(d, w, h.hkv, h.d), act.New(d, w, h.hkv, h.d)
	}
	if w == 0 || g.tiles() == 1 {
		return s
	}
	s.win.k, s.win.v = act.New(b.Act(), w, h.hkv, h.d), act.New(b.Act(), w, h.hkv, h.d)
	if g.divided() {
		s.travel = newChain(b, g, h, link, act, backward)
	} else {
		s.travel = newHostMemory(b, g, h, host, backward)
	}
	if backward {
		for _, n := range s.stageSizes() {
			s.stage = append(s.stage, kv{dk: act.New(tensor.F32, n), dv: act.New(tensor.F32, n)})
		}
	}
	return s
}

// stageSizes are, by the number of a run, the most elements that any layer's tile is owed.
func (s *store) stageSizes() []int {
	var n []int
	for _, x := range s.g.ways {
		if x.dense() {
			continue
		}
		for r, run := range x.runs {
			if r == len(n) {
				n = append(n, 0)
			}
			n[r] = max(n[r], x.longest(r)*(run.h1-run.h0)*s.d)
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

// own is where tile i's keys and values of a layer are written: in place when dense, else in the given buffers.
func (s *store) own(layer int, y at, k, v ops.Tensor) (ops.Tensor, ops.Tensor) {
	if !s.g.reach[layer].dense() {
		return k, v
	}
	return s.dense[layer].k.Rows(y.t0, y.t1), s.dense[layer].v.Rows(y.t0, y.t1)
}

// keep hands on what later tiles need of tile i's keys and values.
func (s *store) keep(layer int, y at, k, v ops.Tensor) {
	if s.g.reach[layer].dense() || y.i+1 >= s.g.tiles() {
		return
	}
	if s.g.strip > 0 {
		k, v = s.win.k.Rows(s.first, s.first+y.t1-y.t0), s.win.v.Rows(s.first, s.first+y.t1-y.t0)
	}
	if t := s.travel.keep(layer, y, k, v); t.some() {
		s.kept = t
	}
}

// lay puts a strip's keys and values, which begin at row lo of the tile, into the window.
func (s *store) lay(lo int, k, v ops.Tensor) {
	if s.g.strip == 0 {
		return
	}
	wide := s.hkv * s.d
	c := ops.Block{DstOff: (s.first + lo) * wide, DstStride: wide, SrcStride: wide, Rows: k.Dim(0), Cols: wide}
	s.b.CopyRows(s.win.k, k, c)
	s.b.CopyRows(s.win.v, v, c)
}

// rows is the window from a layer's halo on. Of a span in strips what stands before its own rows stays when another
// layer, which needs less, has its own there.
func (s *store) rows(layer int, y at) (k, v ops.Tensor) {
	if s.g.strip == 0 {
		return s.win.k, s.win.v
	}
	lo, hi := s.first-s.g.reach[layer].halo(y.i), s.win.k.Dim(0)
	return s.win.k.Rows(lo, hi), s.win.v.Rows(lo, hi)
}

// settle makes sure that what was kept last can be overwritten.
func (s *store) settle() { s.wait(s.kept) }

func (s *store) wait(t ticket) {
	if t.some() {
		s.travel.wait(t)
	}
}

// turn begins the way back of tile y.
func (s *store) turn(y at) {
	if s.travel != nil {
		s.travel.turn()
		s.aheadOwed(len(s.g.reach)-1, y)
	}
}

// finish ends all copies, so that the memory can be used for something else.
func (s *store) finish() {
	if s.travel != nil {
		s.travel.finish(s.win, s.stage)
	}
}

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
	k, v := s.rows(layer, y)
	s.haloIn = s.travel.halo(layer, y, k, v)
}

// window gives the keys and values that tile i's queries see, and the sequence index of their first row. k and v are
// its own, where they do not lie there already.
func (s *store) window(layer int, y at, k, v ops.Tensor) (wk, wv ops.Tensor, k0 int) {
	x := s.g.reach[layer]
	if x.dense() {
		return s.dense[layer].k.Rows(0, y.t1), s.dense[layer].v.Rows(0, y.t1), 0
	}
	halo, n := x.halo(y.i), y.t1-y.t0
	if halo == 0 && s.g.strip == 0 {
		return k, v, y.t0
	}
	wk, wv = s.rows(layer, y)
	if halo > 0 {
		s.ahead(layer, y)
		s.wait(s.haloIn)
		if !s.whole {
			s.travel.come(layer, y, wk, wv)
			s.whole = true
			if s.g.strip == 0 {
				wide := s.hkv * s.d
				own := ops.Block{DstOff: halo * wide, DstStride: wide, SrcStride: wide, Rows: n, Cols: wide}
				s.b.CopyRows(wk, k, own)
				s.b.CopyRows(wv, v, own)
			}
		}
		if t := s.travel.pass(layer, y, wk, wv, y.t0-halo); t.some() && s.g.strip > 0 { // own rows lie in it
			s.kept = t
		}
	}
	return wk.Rows(0, halo+n), wv.Rows(0, halo+n), y.t0 - halo
}

// aheadOwed begins to fetch what later tiles owe tile y in a layer, now that the stage is not wanted any more.
func (s *store) aheadOwed(layer int, y at) {
	if layer < 0 || y.i+1 >= s.g.tiles() || s.g.reach[layer].dense() || s.owedTo == placeOf(layer, y) {
		return
	}
	s.owedTo = placeOf(layer, y)
	if t := s.travel.owed(layer, y, s.stage); t.some() {
		s.stageIn = t
	}
}

// gradRows are float32 sums of the gradients of these tokens' keys and values, of those that tile y's queries see.
func (s *store) gradRows(layer int, y at, of span) (dk, dv ops.Tensor) {
	x := s.g.reach[layer]
	if x.dense() {
		return s.dense[layer].dk.Rows(of.lo, of.hi), s.dense[layer].dv.Rows(of.lo, of.hi)
	}
	k0 := y.t0 - x.halo(y.i)
	return s.win.dk.Rows(of.lo-k0, of.hi-k0), s.win.dv.Rows(of.lo-k0, of.hi-k0)
}

// allGrads are those of the window.
func (s *store) allGrads(layer int, y at) (dk, dv ops.Tensor) {
	return s.gradRows(layer, y, span{y.t0 - s.g.reach[layer].halo(y.i), y.t1})
}

// grads readies the gradients of tile y's window: they hold what later tiles have added already, but where ranks divide
// the sequence: see leave. The own rows of the last tile, and of a rank's, hold anything: attention is told so (see
// fresh).
func (s *store) grads(layer int, y at) {
	x := s.g.reach[layer]
	if x.dense() {
		return
	}
	dk, dv := s.allGrads(layer, y)
	s.wait(s.gone)
	stale := dk.Dim(0)
	if s.fresh(y) {
		stale = x.halo(y.i)
	}
	s.b.Zero(dk.Rows(0, stale))
	s.b.Zero(dv.Rows(0, stale))
	if y.i+1 < s.g.tiles() {
		s.aheadOwed(layer, y)
		if !s.g.divided() {
			s.put(s.b.CopyRows, layer, y, dk, dv)
			s.aheadOwed(layer-1, y)
		}
	}
}

// fresh reports whether nothing stands in a tile's own gradients before its attention adds to them.
func (s *store) fresh(y at) bool { return s.g.strip == 0 && (s.g.divided() || y.i+1 == s.g.tiles()) }

// put waits for what later tiles owe tile y, and copies or adds it to dk and dv, which begin with its halo.
func (s *store) put(how func(dst, src ops.Tensor, c ops.Block), layer int, y at, dk, dv ops.Tensor) {
	x := s.g.reach[layer]
	s.wait(s.stageIn)
	for r, run := range x.runs {
		if debt := x.owed(y.i, r); debt.n() > 0 {
			c := s.unpack(run, debt.lo-(y.t0-x.halo(y.i)), 0, debt.n())
			how(dk, s.stage[r].dk, c)
			how(dv, s.stage[r].dv, c)
		}
	}
}

// leave hands on what attention left for tile y's halo, and begins to fetch the next layer's. A rank adds what the one
// after it owes only now: their attention runs at the same time that way, not the one's after the other's. It gives
// what it owes itself before, unless it has to pass on what comes.
func (s *store) leave(layer int, y at) {
	if !s.g.divided() {
		s.ahead(layer-1, y)
		s.owe(layer, y)
		return
	}
	dk, dv := s.allGrads(layer, y)
	x, last := s.g.reach[layer], y.i+1 == s.g.tiles()
	passes := false
	for r := range x.runs {
		passes = passes || !last && x.owed(y.i, r).lo < y.t0
	}
	if passes {
		s.put(s.b.AddRows, layer, y, dk, dv)
	}
	s.owe(layer, y)
	s.ahead(layer-1, y)
	if !passes && !last {
		s.put(s.b.AddRows, layer, y, dk, dv)
	}
}

// owe hands on the gradients of tile i's halo, for the tiles before it.
func (s *store) owe(layer int, y at) {
	if s.g.reach[layer].dense() || y.i == 0 {
		return
	}
	dk, dv := s.allGrads(layer, y)
	if t := s.travel.owe(layer, y, dk, dv); t.some() {
		s.gone = t
	}
}
