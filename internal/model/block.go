package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// saved are a layer's activations of one tile, as the backward pass wants them.
type saved struct {
	xin, xmid ops.Tensor          // (T,C) act, the residual stream before attention and after it
	q, o      ops.Tensor          // (T,H,D) act; queries and keys as their linear layers give them where they are normed
	k, v      ops.Tensor          // (T,Hkv,D) act
	lse       ops.Tensor          // (H,T) float32
	stat      [norms]ops.Tensor   // by role from AttnIn on, (T·stats) float32: what norms keep for the way back
	g, u      ops.Tensor          // (T,F) act, or (MLPRows,F) when they are made again; no u where there is no gate
	attn      ops.Tensor          // (T,C) act, what attention adds, where it is normed
	mlp       ops.Tensor          // (T,C) act or (MLPRows,C), as g: what the MLP adds, where it is normed
	xa        [linears]ops.Tensor // (T·R) act of each linear layer with a low-rank term, see lowRows
}

// newSaved takes room for one layer's activations but its input: of a strip, with what is little of the whole tile of t
// tokens, gate and up being of so many rows.
func (r *Runner) newSaved(t, strip, rows int) saved {
	s := r.newSmall(t, r.mostRanks())
	for _, x := range []part{partQKV, partOut, partMid} {
		r.newPart(r.Act, &s, x, strip)
	}
	r.newPart(r.Act, &s, partMLP, rows)
	return s
}

// newSmall takes room for what is little: sums and low-rank products.
func (r *Runner) newSmall(t int, ranks [linears]int) saved {
	a := r.Act
	s := saved{lse: a.New(tensor.F32, max(r.M.H, r.M.stats(FinalNorm))*t)}
	for i := range s.stat {
		if n := r.M.stats(AttnIn + Role(i)); n > 0 {
			s.stat[i] = a.New(tensor.F32, t*n)
		}
	}
	for i, rank := range ranks {
		s.xa[i] = r.newXA(t, rank)
	}
	return s
}

// stats is how many numbers a token a norm keeps for the way back: one for each vector that it works on, LayerNorm two.
func (d Desc) stats(r Role) int {
	switch {
	case r != FinalNorm && !d.Has(r):
		return 0
	case r == QNorm && !d.arch().WholeQK:
		return d.H
	case r == KNorm && !d.arch().WholeQK:
		return d.Hkv
	case d.arch().Norms == LayerNorms:
		return 2
	}
	return 1
}

// statOf are what a norm keeps of rows [lo, hi); None where the family has no such norm.
func (r *Runner) statOf(s *saved, role Role, lo, hi int) ops.Tensor {
	n := r.M.stats(role)
	if n == 0 {
		return ops.Tensor{}
	}
	return s.stat[role-AttnIn].Rows(lo*n, hi*n)
}

// normed norms rows of x into y, keeping what the way back wants in stat; where the family has no such norm it is x
// itself.
func (r *Runner) normed(w *Norm, y, stat, x ops.Tensor) ops.Tensor {
	if w.W.None() {
		return x
	}
	switch r.M.arch().Norms {
	case LayerNorms:
		r.B.LayerNormForward(y, stat.Reshape(x.Dim(0), 2), x, w.W, w.Bias, r.M.Eps)
	case RMSNormsPlus1:
		r.B.RMSNormForward(y, stat, x, w.W, 1, r.M.Eps)
	default:
		r.B.RMSNormForward(y, stat, x, w.W, 0, r.M.Eps)
	}
	return y
}

// normBack adds to dx the gradient of what was normed, dy being that of what came of it.
func (r *Runner) normBack(w *Norm, dx, dy, x, stat ops.Tensor) {
	switch kind := r.M.arch().Norms; {
	case w.W.None():
		r.B.Scale(dx, dx, dy, 1)
	case kind == LayerNorms:
		r.B.LayerNormBackward(dx, w.DW, w.DBias, dy, x, stat.Reshape(x.Dim(0), 2), w.W)
	case kind == RMSNormsPlus1:
		r.B.RMSNormBackward(dx, w.DW, dy, x, stat, w.W, 1)
	default:
		r.B.RMSNormBackward(dx, w.DW, dy, x, stat, w.W, 0)
	}
}

// newXA takes room for drop(x)·Aᵀ, (t·rank); None without a low-rank term.
func (r *Runner) newXA(t, rank int) ops.Tensor {
	if rank == 0 {
		return ops.Tensor{}
	}
	return r.Act.New(r.B.Act(), t*rank)
}

// lowRows are rows [lo, hi) of a low-rank product (T,R), which lies at the beginning of room that may be larger.
func lowRows(room ops.Tensor, l *ops.LoRA, lo, hi int) ops.Tensor {
	rank := l.A.Dim(0)
	return room.Rows(lo*rank, hi*rank).Reshape(hi-lo, rank)
}

// ranks are those of a layer's low-rank terms, 0 without.
func (y *Layer) ranks() (ranks [linears]int) {
	for i := range y.Lin {
		if l := y.Lin[i].LoRA; l != nil {
			ranks[i] = l.A.Dim(0)
		}
	}
	return ranks
}

// mostRanks are the largest over all layers, for room that they share.
func (r *Runner) mostRanks() (most [linears]int) {
	for l := range r.M.Layers {
		for i, rank := range r.M.Layers[l].ranks() {
			most[i] = max(most[i], rank)
		}
	}
	return most
}

// forwardKV makes a layer's queries, keys and values of a tile from s.xin and stores what later tiles need. Queries of
// which there is room for a strip's alone are made when that attends.
func (r *Runner) forwardKV(l int, p *pass, s *saved) {
	p.store.settle()
	what := keysValues
	if p.g.lasts(s.q) {
		what |= queries
	}
	var k, v ops.Tensor
	p.strips(func() {
		y := p.view(s)
		r.project(l, p, y, what)
		r.place(l, p, y, what)
		k, v = r.ownKV(l, p, y)
		p.store.lay(p.lo, k, v)
	})
	if p.fill {
		p.store.keep(l, p.at, k, v)
	}
}

// ofAttention are what attention reads.
type ofAttention uint8

const (
	queries ofAttention = 1 << iota
	keysValues
)

// project makes queries, or keys and values, or all, as their linear layers give them.
func (r *Runner) project(l int, p *pass, s *saved, what ofAttention) {
	n, y := p.n(), &r.M.Layers[l]
	h := r.normed(y.norm(AttnIn), p.norm.Rows(0, n), r.statOf(s, AttnIn, 0, n), s.xin.Rows(0, n))
	k, v := r.ownKV(l, p, s)
	if r.M.Has(KNorm) {
		k = s.k.Rows(0, n)
	}
	r.forwardQKV(p, y, s, h, s.q.Rows(0, n), k, v, what)
}

// ask makes a strip's queries ready that are not so yet: s is its view of all.
func (r *Runner) ask(l int, p *pass, all, s *saved) {
	switch {
	case p.g.strip == 0:
		return
	case !p.g.lasts(all.q):
		r.project(l, p, s, queries)
	case !r.M.Has(QNorm): // turned in their place
		return
	}
	r.place(l, p, s, queries)
}

// ownKV are the places of a tile's keys, as attention reads them, and values.
func (r *Runner) ownKV(l int, p *pass, s *saved) (k, v ops.Tensor) {
	n := p.n()
	if k = s.k; r.M.Has(KNorm) {
		k = p.kn
	}
	return p.store.own(l, p.at, k.Rows(0, n), s.v.Rows(0, n))
}

// forwardQKV are the products of a tile's queries, keys and values with h, those of what. One matrix gives all.
func (r *Runner) forwardQKV(p *pass, y *Layer, s *saved, h, q, k, v ops.Tensor, what ofAttention) {
	n, m := p.n(), r.M
	if m.Has(QKV) {
		all := p.qkv.Rows(0, n)
		r.B.LinearForward(h, p.keysT(), []ops.Proj{p.proj(y, s, QKV, all)})
		for i, t := range []ops.Tensor{q, k, v} {
			r.B.CopyRows(t, all, m.byHead(n, i))
		}
		return
	}
	var to []ops.Proj
	if what&queries > 0 {
		to = append(to, p.proj(y, s, Q, q.Reshape(n, m.H*m.D)))
	}
	if what&keysValues > 0 {
		to = append(to, p.proj(y, s, K, k.Reshape(n, m.Hkv*m.D)), p.proj(y, s, V, v.Reshape(n, m.Hkv*m.D)))
	}
	r.B.LinearForward(h, p.keysT(), to)
}

// byHead is the block by which queries (i = 0), keys (1) or values (2) of n tokens lie in the product of a matrix that
// has the three of each head one after the other.
func (d Desc) byHead(n, i int) ops.Block {
	return ops.Block{DstStride: d.D, SrcOff: i * d.D, SrcStride: 3 * d.D, Rows: n * d.H, Cols: d.D}
}

// place norms a tile's queries and keys, those of what, where the family does, and turns them.
func (r *Runner) place(l int, p *pass, s *saved, what ofAttention) {
	k, _ := r.ownKV(l, p, s)
	for _, x := range []struct {
		of      ofAttention
		norm    Role
		raw, to ops.Tensor
	}{{queries, QNorm, s.q, p.queries(s)}, {keysValues, KNorm, s.k, k}} {
		if what&x.of == 0 {
			continue
		}
		if n := p.n(); r.M.Has(x.norm) {
			w := r.M.width(x.norm)
			r.normed(r.M.Layers[l].norm(x.norm), vectors(x.to, w), r.statOf(s, x.norm, 0, n), vectors(x.raw.Rows(0, n), w))
		}
		r.turn(l, p, x.to, x.to, false)
	}
}

// vectors are a tensor's elements as rows of a width.
func vectors(t ops.Tensor, width int) ops.Tensor { return t.Reshape(t.Elems()/width, width) }

// turn gives src its positions in dst, of another type or src itself; in a layer without any it only converts.
func (r *Runner) turn(l int, p *pass, dst, src ops.Tensor, inverse bool) {
	switch {
	case !r.M.unturned(l):
		r.B.Rope(dst, src, p.csT(), inverse)
	case dst.DType != src.DType:
		r.B.Convert(dst, src)
	}
}

// forwardAttn goes on from forwardKV to s.xmid.
func (r *Runner) forwardAttn(l int, p *pass, s *saved) {
	k, v := r.ownKV(l, p, s)
	r.B.AttnForward(p.attn(l, s, k, v))
	r.forwardO(l, p, s)
}

// forwardO goes on from s.o to s.xmid.
func (r *Runner) forwardO(l int, p *pass, s *saved) {
	m, n := r.M, p.n()
	o := s.o.Rows(0, n).Reshape(n, m.H*m.D)
	r.join(p, &m.Layers[l], s, branch{O, AttnOut, 0, n}, s.xin.Rows(0, n), s.xmid.Rows(0, n), func(out ops.Proj) {
		r.B.LinearForward(o, p.keysT(), []ops.Proj{out})
	})
}

// branch is the end of one of a layer's branches over rows [lo, hi): its last linear layer, and the norm of what it
// gives.
type branch struct {
	last, norm Role
	lo, hi     int
}

// join adds a branch to the residual stream: y = res + BranchBy·norm(x·Wᵀ). last is the branch's last linear layer, of
// its input x.
func (r *Runner) join(p *pass, layer *Layer, s *saved, br branch, res, y ops.Tensor, last func(out ops.Proj)) {
	out := p.projRows(layer, s, br.last, y, br.lo, br.hi)
	w := layer.norm(br.norm)
	if w.W.None() && r.M.BranchBy == 0 {
		out.Res = res
		last(out)
		return
	}
	room := p.norm.Rows(0, br.hi-br.lo)
	if out.Y = room; !w.W.None() {
		out.Y = s.added(br)
	}
	last(out)
	z := r.normed(w, room, r.statOf(s, br.norm, br.lo, br.hi), out.Y)
	by := float32(1)
	if r.M.BranchBy > 0 {
		by = r.M.BranchBy
	}
	r.B.Scale(y, res, z, by)
}

// added is the place of what a branch gives before its norm.
func (s *saved) added(br branch) ops.Tensor {
	if br.norm == AttnOut {
		return s.attn.Rows(br.lo, br.hi)
	}
	lo, hi := s.chunk(br.lo, br.hi)
	return s.mlp.Rows(lo, hi)
}

// forwardMLP goes on from s.xmid to xout.
func (r *Runner) forwardMLP(l int, p *pass, s *saved, xout ops.Tensor) {
	n, y := p.n(), &r.M.Layers[l]
	for lo := 0; lo < n; lo += r.MLPRows {
		hi := min(lo+r.MLPRows, n)
		g, u := r.gateUp(l, p, s, lo, hi)
		h := p.h.Rows(0, hi-lo)
		r.join(p, y, s, branch{Down, MLPOut, lo, hi}, s.xmid.Rows(lo, hi), xout.Rows(lo, hi), func(out ops.Proj) {
			if b := r.gater(u); b != nil && b.GatedForward(h, g, u, out) {
				return
			}
			r.activate(h, g, u)
			r.B.LinearForward(h, p.keysRows(lo, hi), []ops.Proj{out})
		})
	}
}

// gater does SwiGLU with the linear layers beside it; nil where the backend does not, or the model has another
// activation.
func (r *Runner) gater(u ops.Tensor) ops.Gater {
	if b, ok := r.B.(ops.Gater); ok && r.M.Act == SiLU && !u.None() {
		return b
	}
	return nil
}

// activate is h = act(g)·u.
func (r *Runner) activate(h, g, u ops.Tensor) {
	if r.M.Act == SiLU {
		r.B.SwiGLUForward(h, g, u)
		return
	}
	r.B.GELUForward(h, g, u, r.M.Act == GELUTanh)
}

// activateBack turns g and u into their gradients.
func (r *Runner) activateBack(dh, g, u ops.Tensor) {
	if r.M.Act == SiLU {
		r.B.SwiGLUBackward(g, u, dh, g, u)
		return
	}
	r.B.GELUBackward(g, u, dh, g, u, r.M.Act == GELUTanh)
}

// mlpIn are rows [lo, hi) of the MLP's input before its norm: attention is in it, but where branches are side by side.
func (r *Runner) mlpIn(s *saved, lo, hi int) ops.Tensor {
	if r.M.Parallel {
		return s.xin.Rows(lo, hi)
	}
	return s.xmid.Rows(lo, hi)
}

// gateUp makes gate and up of rows [lo, hi).
func (r *Runner) gateUp(l int, p *pass, s *saved, lo, hi int) (g, u ops.Tensor) {
	y := &r.M.Layers[l]
	h := r.mlpNormed(y, p, s, lo, hi)
	g, u = s.gateUpRows(lo, hi)
	to := []ops.Proj{p.projRows(y, s, Gate, g, lo, hi)}
	if !u.None() {
		to = append(to, p.projRows(y, s, Up, u, lo, hi))
	}
	r.B.LinearForward(h, p.keysRows(lo, hi), to)
	return g, u
}

// mlpNormed is the input of gate and up.
func (r *Runner) mlpNormed(y *Layer, p *pass, s *saved, lo, hi int) ops.Tensor {
	return r.normed(y.norm(MLPIn), p.norm.Rows(0, hi-lo), r.statOf(s, MLPIn, lo, hi), r.mlpIn(s, lo, hi))
}

// gateUpRows are the places of gate and up of rows [lo, hi): their own when kept whole, else the chunk's.
func (s *saved) gateUpRows(lo, hi int) (g, u ops.Tensor) {
	lo, hi = s.chunk(lo, hi)
	if g = s.g.Rows(lo, hi); !s.u.None() {
		u = s.u.Rows(lo, hi)
	}
	return g, u
}

// chunk is where rows [lo, hi) of what the MLP makes lie.
func (s *saved) chunk(lo, hi int) (int, int) {
	if s.g.Dim(0) < s.xmid.Dim(0) {
		return 0, hi - lo
	}
	return lo, hi
}

// lseT is lse as (H,n).
func (s *saved) lseT(h, n int) ops.Tensor { return s.lse.Rows(0, h*n).Reshape(h, n) }
