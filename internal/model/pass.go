package model

import (
	"slices"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// pass holds one sequence's buffers, taken once, and the tile that is worked on.
type pass struct {
	r      *Runner
	batch  *Batch
	g      *geometry
	store  *store
	at     at
	lo, hi int     // the strip of it that is worked on
	fill   bool    // keep halos: the first time that a tile is run
	scale  float32 // of the loss

	ids, pos, targets ops.Tensor // (T) int32
	keys              ops.Tensor // (T) uint64, None without dropout
	cs                ops.Tensor // (T,D) float32
	nll               ops.Tensor // (T) float32
	x0, x1            ops.Tensor // (T,C) act, the residual stream between layers that keep nothing
	norm              ops.Tensor // (T,C) act, a normed copy
	h                 ops.Tensor // (MLPRows,F) act
	logits            ops.Tensor // (HeadRows,V) float32
	layers            []saved    // backward only: one a layer
	scratch           saved
	mover             mover

	// Of the backward pass alone. Some have the memory of another that is not wanted at the time: see share.
	dx, dn ops.Tensor          // (T,C) act
	do, dq ops.Tensor          // (T,H,D) act
	dh     ops.Tensor          // (MLPRows,F) act; h where no gradient wants that
	dxa    [linears]ops.Tensor // (T·R) act, scratch of the low-rank gradients, see lowRows
	delta  ops.Tensor          // (H·T) float32
	rstd   ops.Tensor          // (T·stats) float32, of the last norm
	qn, kn ops.Tensor          // (T,H,D), (T,Hkv,D) act, queries and keys as attention reads them, where they are normed
	qkv    ops.Tensor          // (T,3·H·D) act, where one matrix gives all three
	work   ops.Tensor          // scratch of attention's backward pass; None where act is float32
}

// share takes room for two tensors of which one is wanted only while the other is not: one memory under two names. A
// test gives each memory of its own and finds the same bits.
func (r *Runner) share(d tensor.DType, a, b tensor.Shape) (x, y ops.Tensor) {
	if r.apart {
		return r.Act.New(d, a...), r.Act.New(d, b...)
	}
	room := r.Act.New(d, max(a.Elems(), b.Elems()))
	return room.Rows(0, a.Elems()).Reshape(a...), room.Rows(0, b.Elems()).Reshape(b...)
}

// newPass takes all memory that the sequence needs.
func (r *Runner) newPass(b *Batch, g *geometry, backward bool) *pass {
	a, act, m := r.Act, r.B.Act(), r.M
	t := min(g.t, g.n)
	T := min(r.Tile, t) // of a strip
	p := &pass{r: r, batch: b, g: g, fill: true}
	p.ids, p.pos, p.targets = a.New(tensor.I32, t), a.New(tensor.I32, t), a.New(tensor.I32, t)
	if b.Keys != nil {
		p.keys = a.New(tensor.U64, t)
	}
	p.cs, p.nll = a.New(tensor.F32, t, m.RotaryDim()), a.New(tensor.F32, t)
	stream, perHead := tensor.Shape{t, m.C}, tensor.Shape{t, m.H, m.D}
	p.x0, p.dq = r.share(act, stream, perHead) // x0 is done with when the head's gradient is known
	p.x1, p.dx = r.share(act, stream, stream)  // x1 is of the way forward alone
	p.norm = a.New(act, T, m.C)
	rows := min(T, r.MLPRows)
	p.h = a.New(act, rows, m.F)
	work := 0
	if backward && act != tensor.F32 {
		work = int(ops.AttnWork(T, m.H, m.D) / 4)
	}
	p.logits, p.work = r.share(tensor.F32, tensor.Shape{min(T, r.HeadRows), m.V}, tensor.Shape{work})
	if work == 0 {
		p.work = ops.Tensor{}
	}
	p.store = newStore(r.B, g, heads{m.Hkv, m.D}, r.Division.Link, a, r.Host, backward)
	wide := rows
	if backward && g.strip == 0 && p.keepOf(m.L-1) == KeepAll {
		wide = T
	}
	p.scratch = r.newSaved(t, T, wide)
	if m.Has(QNorm) {
		p.qn, p.kn = a.New(act, T, m.H, m.D), a.New(act, T, m.Hkv, m.D)
	}
	if m.Has(QKV) {
		p.qkv = a.New(act, T, 3*m.H*m.D)
	}
	if backward {
		// dn is a norm's, do attention's
		p.do, p.dn = r.share(act, tensor.Shape{T, m.H, m.D}, tensor.Shape{T, m.C})
		// rstd comes before any attention
		p.delta, p.rstd = r.share(tensor.F32, tensor.Shape{m.H * T}, tensor.Shape{T * m.stats(FinalNorm)})
		// what attention gave has its gradient before the MLP is gone through
		if m.Parallel {
			p.dn = a.New(act, T, m.C)
		}
		p.dh = p.h
		if r.apart || slices.ContainsFunc(m.Layers, func(y Layer) bool { return p.reads(&y, Down) }) {
			p.dh = a.New(act, rows, m.F)
		}
		for i, rank := range r.mostRanks() {
			p.dxa[i] = r.newXA(T, rank)
		}
		p.layers = p.newLayers(t)
		host := r.Host.Mark()
		p.mover = r.newMover(t, p.layers)
		r.movedBytes = r.Host.Mark() - host
	}
	return p
}

// newLayers takes what each layer keeps; what it does not keep is the scratch that all share. There are none where
// sizes alone are wanted.
func (p *pass) newLayers(t int) []saved {
	var s []saved
	r, last := p.r, p.r.M.L-1
	if p.g.strip > 0 { // then it is like the others
		last = -1
	}
	if !r.Act.Sizing() {
		s = make([]saved, r.M.L)
	}
	for l := range r.M.L {
		kind := layerKind{t, p.keepOf(l), l == last, r.inTurn(l, r.M.L), r.M.Layers[l].ranks()}
		var y saved
		if r.Act.Alike(kind, func() { y = r.newLayer(kind, p.scratch) }); s != nil {
			s[l] = y
		}
	}
	return s
}

// layerKind is what the memory of a layer depends on.
type layerKind struct {
	t            int // tokens of a tile
	keep         Keep
	last, inTurn bool
	ranks        [linears]int
}

// newLayer takes what one layer keeps.
func (r *Runner) newLayer(y layerKind, scratch saved) (s saved) {
	t := y.t
	if r.apart {
		scratch = r.newSaved(t, scratch.q.Dim(0), scratch.g.Dim(0))
	}
	switch {
	case y.keep <= KeepAttn && !y.last:
		s = r.newSmall(t, y.ranks)
		for x := range parts {
			s.borrow(&scratch, x)
		}
	case y.keep == KeepOut:
		s = scratch
		s.lse = r.Act.New(tensor.F32, r.M.H*t)
		s.xa[Down] = r.newXA(t, y.ranks[Down])
	default:
		s = scratch
		if !y.last {
			s.xa[Down] = r.newXA(t, y.ranks[Down]) // the MLP's output product is not made again
		}
	}
	switch {
	case y.last:
		r.newPart(r.Act, &s, partIn, t)
	case !y.inTurn:
		r.newParts(r.Act, &s, y.keep, t)
	}
	return s
}

// rowsOf are a tile's rows of v as bytes, nothing for a batch to count.
func rowsOf[T int32 | uint64](v []T, y at) []byte {
	if len(v) == 0 {
		return nil
	}
	return bytesOf(v[y.t0:y.t1])
}

// positions are the places of a tile's tokens in their documents, nothing for a batch to count.
func (p *pass) positions(y at) []int32 {
	if len(p.batch.IDs) == 0 {
		return nil
	}
	if len(p.r.positions) < y.t1-y.t0 {
		p.r.positions = make([]int32, p.g.t)
	}
	pos := p.r.positions[:y.t1-y.t0]
	d0, d1 := p.g.doc(y.t0)
	for t := range pos {
		if y.t0+t >= d1 {
			d0, d1 = p.g.doc(y.t0 + t)
		}
		pos[t] = int32(y.t0 + t - d0)
	}
	return pos
}

// enter uploads tile i's tokens and positions.
func (p *pass) enter(y at) {
	b, n := p.r.B, y.t1-y.t0
	p.at, p.lo, p.hi = y, 0, n
	b.Upload(p.ids.Rows(0, n), rowsOf(p.batch.IDs, y))
	b.Upload(p.pos.Rows(0, n), bytesOf(p.positions(y)))
	if !p.keys.None() {
		b.Upload(p.keys.Rows(0, n), rowsOf(p.batch.Keys, y))
	}
	if p.batch.Targets != nil {
		b.Upload(p.targets.Rows(0, n), rowsOf(p.batch.Targets, y))
	}
	b.RopeTable(p.csT(), p.pos.Rows(0, n), p.r.inv, p.r.ropeScale)
	p.store.ahead(0, y)
}

// n is how many tokens are worked on.
func (p *pass) n() int { return p.hi - p.lo }

// tokens are the tile's, none of a batch to count.
func (p *pass) tokens() []int32 {
	if len(p.batch.IDs) == 0 {
		return nil
	}
	return p.batch.IDs[p.at.t0:p.at.t1]
}

// stream is the residual stream that goes into layer l, or out of the last, where nothing is kept.
func (p *pass) stream(l int) ops.Tensor {
	if l%2 == 0 {
		return p.x0
	}
	return p.x1
}

func (p *pass) csT() ops.Tensor { return p.of(p.cs) }

func (p *pass) keysT() ops.Tensor { return p.keysRows(0, p.n()) }

func (p *pass) keysRows(lo, hi int) ops.Tensor {
	if p.keys.None() {
		return p.keys
	}
	return p.keys.Rows(p.lo+lo, p.lo+hi)
}

// attn describes the attention in layer l of what is worked on; k and v are its own, where the store has them not.
func (p *pass) attn(l int, s *saved, k, v ops.Tensor) *ops.Attn {
	m, n := p.r.M, p.n()
	wk, wv, k0 := p.store.window(l, p.at, k, v)
	sees := p.sees(l, k0)
	lo, hi, t0 := sees.lo-k0, sees.hi-k0, p.at.t0
	return &ops.Attn{H: m.H, Hkv: m.Hkv, D: m.D, Scale: m.scoreScale(), Cap: m.ScoresCap, Spec: p.g.reach[l].spec,
		Q0: t0 + p.lo, K0: sees.lo, Docs: p.g.docsOf(t0+p.lo, t0+p.hi),
		Q: p.queries(s), K: wk.Rows(lo, hi), V: wv.Rows(lo, hi), O: s.o.Rows(0, n), LSE: s.lseT(m.H, n)}
}

// queries are a tile's queries as attention reads them.
func (p *pass) queries(s *saved) ops.Tensor {
	if p.qn.None() {
		return s.q.Rows(0, p.n())
	}
	return p.qn.Rows(0, p.n())
}

// reads reports whether the backward pass of a linear layer wants its input.
func (p *pass) reads(y *Layer, t Role) bool {
	return y.Lin[t].LoRA != nil && !y.Lin[t].LoRA.DA.None() || !y.Lin[t].DW.None()
}

func (p *pass) proj(y *Layer, s *saved, t Role, out ops.Tensor) ops.Proj {
	return p.projRows(y, s, t, out, 0, p.n())
}

func (p *pass) projRows(y *Layer, s *saved, t Role, out ops.Tensor, lo, hi int) ops.Proj {
	pr := ops.Proj{L: &y.Lin[t], Y: out}
	if l := pr.L.LoRA; l != nil {
		pr.XA = lowRows(s.xa[t], l, lo, hi)
	}
	return pr
}

func (p *pass) gradRows(y *Layer, s *saved, t Role, dy ops.Tensor, lo, hi int) ops.ProjGrad {
	pg := ops.ProjGrad{L: &y.Lin[t], DY: dy}
	if l := pg.L.LoRA; l != nil {
		pg.XA, pg.DXA = lowRows(s.xa[t], l, lo, hi), lowRows(p.dxa[t], l, lo, hi)
	}
	return pg
}
