package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// store keeps, layer by layer, the keys and values that later tiles need, and on the way back the gradients
// that earlier tiles are owed.
//
// Under full attention it is dense: k and v of the whole sequence in one buffer a layer, in which the
// attention works in place. Otherwise each run of heads keeps the tokens that some later query needs, once, in
// host memory, and a tile's window is put together from them.
type store struct {
	b      ops.Backend
	g      *geometry
	hkv, d int
	slots  [][]span // [tile][run]
	dense  []kv     // [layer]: (N,Hkv,D)
	runs   [][]kv   // [layer][run]: k, v (stored,heads,D) act; dk, dv (longest halo,heads,D) float32
	win    kv       // the window of one tile: k, v act, dk, dv float32, (W,Hkv,D)
}

// kv are keys and values with their gradients.
type kv struct{ k, v, dk, dv ops.Tensor }

// at is one tile: its number and its interval of the sequence.
type at struct{ i, t0, t1 int }

// span is where a tile's kept tokens begin in the sequence and in the store.
type span struct{ lo, slot int }

// newStore takes what the geometry needs; with backward it has room for gradients too.
func newStore(b ops.Backend, g *geometry, layers, hkv, d int, act, halo *ops.Arena, backward bool) *store {
	s := &store{b: b, g: g, hkv: hkv, d: d}
	if g.dense() {
		for range layers {
			y := kv{k: act.New(b.Act(), g.n, hkv, d), v: act.New(b.Act(), g.n, hkv, d)}
			if backward {
				y.dk, y.dv = act.New(tensor.F32, g.n, hkv, d), act.New(tensor.F32, g.n, hkv, d)
				b.Zero(y.dk)
				b.Zero(y.dv)
			}
			s.dense = append(s.dense, y)
		}
		return s
	}
	w := g.window()
	if backward {
		s.win.dk, s.win.dv = act.New(tensor.F32, w, hkv, d), act.New(tensor.F32, w, hkv, d)
	}
	if g.tiles() == 1 {
		return s
	}
	s.win.k, s.win.v = act.New(b.Act(), w, hkv, d), act.New(b.Act(), w, hkv, d)
	s.cut()
	for range layers {
		s.runs = append(s.runs, s.layer(halo, backward))
	}
	return s
}

// cut computes the spans of all tiles.
func (s *store) cut() {
	slot := make([]int, len(s.g.runs))
	for i := range s.g.tiles() {
		t0, t1 := s.g.tile(i)
		row := make([]span, len(s.g.runs))
		for r, run := range s.g.runs {
			lo := t1
			if i+1 < s.g.tiles() {
				lo = max(t0, s.g.haloLo(t1, run))
			}
			row[r] = span{lo, slot[r]}
			slot[r] += t1 - lo
		}
		s.slots = append(s.slots, row)
	}
	s.slots = append(s.slots, make([]span, len(slot)))
	for r, n := range slot {
		s.slots[s.g.tiles()][r].slot = n
	}
}

// layer takes one layer's stores.
func (s *store) layer(halo *ops.Arena, backward bool) []kv {
	var out []kv
	for r, run := range s.g.runs {
		n, h := s.slots[s.g.tiles()][r].slot, run.h1-run.h0
		y := kv{k: halo.New(s.b.Act(), n, h, s.d), v: halo.New(s.b.Act(), n, h, s.d)}
		if backward {
			longest := 0
			for i := range s.g.tiles() {
				t0, _ := s.g.tile(i)
				longest = max(longest, t0-s.g.haloLo(t0, run))
			}
			y.dk, y.dv = halo.New(tensor.F32, longest, h, s.d), halo.New(tensor.F32, longest, h, s.d)
		}
		out = append(out, y)
	}
	return out
}

// own is where tile i's keys and values of a layer are written: in place when dense, else in the given buffers.
func (s *store) own(layer int, y at, k, v ops.Tensor) (ops.Tensor, ops.Tensor) {
	if !s.g.dense() {
		return k, v
	}
	return s.dense[layer].k.Rows(y.t0, y.t1), s.dense[layer].v.Rows(y.t0, y.t1)
}

// keep copies what later tiles need of tile i's keys and values into the store.
func (s *store) keep(layer int, y at, k, v ops.Tensor) {
	if s.g.dense() || y.i+1 >= s.g.tiles() {
		return
	}
	for r, run := range s.g.runs {
		sp := s.slots[y.i][r]
		s.rows(s.runs[layer][r].k, sp.slot, k, sp.lo-y.t0, y.t1-sp.lo, run, true)
		s.rows(s.runs[layer][r].v, sp.slot, v, sp.lo-y.t0, y.t1-sp.lo, run, true)
	}
}

// window gives the keys and values that tile i's queries see, and the sequence index of their first row.
func (s *store) window(layer int, y at, k, v ops.Tensor) (wk, wv ops.Tensor, k0 int) {
	if s.g.dense() {
		return s.dense[layer].k.Rows(0, y.t1), s.dense[layer].v.Rows(0, y.t1), 0
	}
	t0, t1 := y.t0, y.t1
	halo := s.g.halo(y.i)
	if halo == 0 {
		return k, v, t0
	}
	k0 = t0 - halo
	for r, run := range s.g.runs {
		lo := s.g.haloLo(t0, run)
		from := s.slots[y.i][r].slot - (t0 - lo) // kept tokens up to t0 end where tile i's begin
		s.rows(s.win.k, lo-k0, s.runs[layer][r].k, from, t0-lo, run, false)
		s.rows(s.win.v, lo-k0, s.runs[layer][r].v, from, t0-lo, run, false)
	}
	wide := s.hkv * s.d
	own := ops.Block{DstOff: halo * wide, DstStride: wide, SrcStride: wide, Rows: t1 - t0, Cols: wide}
	s.b.CopyRows(s.win.k, k, own)
	s.b.CopyRows(s.win.v, v, own)
	return s.win.k.Rows(0, halo+t1-t0), s.win.v.Rows(0, halo+t1-t0), k0
}

// grads gives float32 sums over the same rows as window, holding what later tiles have added already.
func (s *store) grads(layer int, y at) (dk, dv ops.Tensor) {
	t0, t1 := y.t0, y.t1
	if s.g.dense() {
		return s.dense[layer].dk.Rows(0, t1), s.dense[layer].dv.Rows(0, t1)
	}
	k0 := t0 - s.g.halo(y.i)
	dk, dv = s.win.dk.Rows(0, t1-k0), s.win.dv.Rows(0, t1-k0)
	s.b.Zero(dk)
	s.b.Zero(dv)
	if y.i+1 < s.g.tiles() {
		for r, run := range s.g.runs {
			lo := s.g.haloLo(t1, run)
			s.rows(dk, lo-k0, s.runs[layer][r].dk, 0, t1-lo, run, false)
			s.rows(dv, lo-k0, s.runs[layer][r].dv, 0, t1-lo, run, false)
		}
	}
	return dk, dv
}

// owe keeps the gradients of tile i's halo for the tiles before it.
func (s *store) owe(layer int, y at, dk, dv ops.Tensor) {
	if s.g.dense() || y.i == 0 {
		return
	}
	t0 := y.t0
	k0 := t0 - s.g.halo(y.i)
	for r, run := range s.g.runs {
		lo := s.g.haloLo(t0, run)
		s.rows(s.runs[layer][r].dk, 0, dk, lo-k0, t0-lo, run, true)
		s.rows(s.runs[layer][r].dv, 0, dv, lo-k0, t0-lo, run, true)
	}
}

// rows copies n tokens of a run's heads between an (·,Hkv,D) and a compact (·,heads,D) buffer in host memory: into the
// compact one when pack, else out of it.
func (s *store) rows(dst ops.Tensor, d0 int, src ops.Tensor, s0, n int, run headRun, pack bool) {
	if n == 0 {
		return
	}
	wide, cols := s.hkv*s.d, (run.h1-run.h0)*s.d
	b := ops.Block{Rows: n, Cols: cols, Moved: true}
	if pack {
		b.DstOff, b.DstStride, b.SrcOff, b.SrcStride = d0*cols, cols, s0*wide+run.h0*s.d, wide
	} else {
		b.DstOff, b.DstStride, b.SrcOff, b.SrcStride = d0*wide+run.h0*s.d, wide, s0*cols, cols
	}
	s.b.CopyRows(dst, src, b)
}
