package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// saved are a layer's activations of one tile, as the backward pass wants them.
type saved struct {
	xin, xmid    ops.Tensor          // (T,C) act, the residual stream before attention and before the MLP
	q, o         ops.Tensor          // (T,H,D) act
	k, v         ops.Tensor          // (T,Hkv,D) act
	lse          ops.Tensor          // (H,T) float32
	rstd1, rstd2 ops.Tensor          // (T) float32
	g, u         ops.Tensor          // (T,F) act, or (MLPRows,F) when they are made again
	xa           [linears]ops.Tensor // (T·R) act of each linear layer with a low-rank term, see lowRows
}

// newSaved takes room for one layer's activations but its input, gate and up being of so many rows.
func (r *Runner) newSaved(t, rows int) saved {
	s := r.newSmall(t, r.mostRanks())
	for _, x := range []part{partQKV, partOut, partMid} {
		r.newPart(r.Act, &s, x, t)
	}
	r.newPart(r.Act, &s, partMLP, rows)
	return s
}

// newSmall takes room for what is little: sums and low-rank products.
func (r *Runner) newSmall(t int, ranks [linears]int) saved {
	a := r.Act
	s := saved{lse: a.New(tensor.F32, r.M.H*t), rstd1: a.New(tensor.F32, t), rstd2: a.New(tensor.F32, t)}
	for i, rank := range ranks {
		s.xa[i] = r.newXA(t, rank)
	}
	return s
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

// forwardKV makes a layer's queries, keys and values of a tile from s.xin and stores what later tiles need.
func (r *Runner) forwardKV(l int, p *pass, s *saved) {
	b, m, n := r.B, r.M, p.n()
	y := &m.Layers[l]
	h1 := p.norm.Rows(0, n)
	b.RMSNormForward(h1, s.rstd1.Rows(0, n), s.xin.Rows(0, n), y.norm(AttnIn).W, m.Eps)
	q := s.q.Rows(0, n)
	p.store.settle()
	k, v := p.store.own(l, p.at, s.k.Rows(0, n), s.v.Rows(0, n))
	b.LinearForward(h1, p.keysT(), []ops.Proj{
		p.proj(y, s, Q, q.Reshape(n, m.H*m.D)), p.proj(y, s, K, k.Reshape(n, m.Hkv*m.D)), p.proj(y, s, V, v.Reshape(n, m.Hkv*m.D))})
	b.Rope(q, q, p.csT(), false)
	b.Rope(k, k, p.csT(), false)
	if p.fill {
		p.store.keep(l, p.at, k, v)
	}
}

// forwardAttn goes on from forwardKV to s.xmid.
func (r *Runner) forwardAttn(l int, p *pass, s *saved) {
	n := p.n()
	k, v := p.store.own(l, p.at, s.k.Rows(0, n), s.v.Rows(0, n))
	wk, wv, k0 := p.store.window(l, p.at, k, v)
	a := p.attn(l, k0, s)
	a.K, a.V = wk, wv
	r.B.AttnForward(a)
	r.forwardO(l, p, s)
}

// forwardO goes on from s.o to s.xmid.
func (r *Runner) forwardO(l int, p *pass, s *saved) {
	m, n := r.M, p.n()
	out := p.proj(&m.Layers[l], s, O, s.xmid.Rows(0, n))
	out.Res = s.xin.Rows(0, n)
	r.B.LinearForward(s.o.Rows(0, n).Reshape(n, m.H*m.D), p.keysT(), []ops.Proj{out})
}

// forwardMLP goes on from s.xmid to xout.
func (r *Runner) forwardMLP(l int, p *pass, s *saved, xout ops.Tensor) {
	b, n := r.B, p.n()
	y := &r.M.Layers[l]
	for lo := 0; lo < n; lo += r.MLPRows {
		hi := min(lo+r.MLPRows, n)
		g, u := r.gateUp(l, p, s, lo, hi)
		h := p.h.Rows(0, hi-lo)
		b.SwiGLUForward(h, g, u)
		down := p.projRows(y, s, Down, xout.Rows(lo, hi), lo, hi)
		down.Res = s.xmid.Rows(lo, hi)
		b.LinearForward(h, p.keysRows(lo, hi), []ops.Proj{down})
	}
}

// gateUp makes gate and up of rows [lo, hi) from xmid.
func (r *Runner) gateUp(l int, p *pass, s *saved, lo, hi int) (g, u ops.Tensor) {
	y := &r.M.Layers[l]
	h2 := p.norm.Rows(0, hi-lo)
	r.B.RMSNormForward(h2, s.rstd2.Rows(lo, hi), s.xmid.Rows(lo, hi), y.norm(MLPIn).W, r.M.Eps)
	g, u = s.gateUpRows(lo, hi)
	r.B.LinearForward(h2, p.keysRows(lo, hi), []ops.Proj{
		p.projRows(y, s, Gate, g, lo, hi), p.projRows(y, s, Up, u, lo, hi)})
	return g, u
}

// gateUpRows are the places of gate and up of rows [lo, hi): their own when kept whole, else the chunk's.
func (s *saved) gateUpRows(lo, hi int) (g, u ops.Tensor) {
	if s.g.Dim(0) < s.xmid.Dim(0) {
		lo, hi = 0, hi-lo
	}
	return s.g.Rows(lo, hi), s.u.Rows(lo, hi)
}

// lseT is lse as (H,n).
func (s *saved) lseT(h, n int) ops.Tensor { return s.lse.Rows(0, h*n).Reshape(h, n) }

// backward turns dx, the gradient of layer l's output over a tile, into that of its input, in place.
func (r *Runner) backward(l int, p *pass, s *saved, dx ops.Tensor) {
	n := p.n()
	for lo := 0; lo < n; lo += r.MLPRows {
		r.backwardMLP(l, p, s, dx, lo, min(lo+r.MLPRows, n))
	}
	r.backwardAttn(l, p, s, dx)
}

// backwardMLP does the MLP's rows [lo, hi).
func (r *Runner) backwardMLP(l int, p *pass, s *saved, dx ops.Tensor, lo, hi int) {
	b, y := r.B, &r.M.Layers[l]
	g, u := s.gateUpRows(lo, hi)
	if r.KeepOf(l, r.M.L) != KeepAll {
		g, u = r.gateUp(l, p, s, lo, hi)
	} else if p.reads(y, Gate) || p.reads(y, Up) {
		b.RMSNormForward(p.norm.Rows(0, hi-lo), s.rstd2.Rows(lo, hi), s.xmid.Rows(lo, hi), y.norm(MLPIn).W, r.M.Eps)
	}
	h, h2 := ops.Tensor{}, ops.Tensor{}
	if p.reads(y, Down) {
		h = p.h.Rows(0, hi-lo)
		b.SwiGLUForward(h, g, u)
	}
	if p.reads(y, Gate) || p.reads(y, Up) {
		h2 = p.norm.Rows(0, hi-lo)
	}
	dh, dxr, dn := p.dh.Rows(0, hi-lo), dx.Rows(lo, hi), p.dn.Rows(0, hi-lo)
	keys := p.keysRows(lo, hi)
	b.LinearBackward(dh, h, keys, []ops.ProjGrad{p.gradRows(y, s, Down, dxr, lo, hi)})
	b.SwiGLUBackward(g, u, dh, g, u)
	b.LinearBackward(dn, h2, keys, []ops.ProjGrad{p.gradRows(y, s, Gate, g, lo, hi), p.gradRows(y, s, Up, u, lo, hi)})
	b.RMSNormBackward(dxr, y.norm(MLPIn).DW, dn, s.xmid.Rows(lo, hi), s.rstd2.Rows(lo, hi), y.norm(MLPIn).W)
}

// backwardAttn does the attention block of a tile.
func (r *Runner) backwardAttn(l int, p *pass, s *saved, dx ops.Tensor) {
	b, m, n := r.B, r.M, p.n()
	y := &m.Layers[l]
	o, do, dq := s.o.Rows(0, n), p.do.Rows(0, n), p.dq.Rows(0, n)
	x := ops.Tensor{}
	if p.reads(y, O) {
		x = o.Reshape(n, m.H*m.D)
	}
	b.LinearBackward(do.Reshape(n, m.H*m.D), x, p.keysT(), []ops.ProjGrad{p.gradRows(y, s, O, dx, 0, n)})
	k, v := p.store.own(l, p.at, s.k.Rows(0, n), s.v.Rows(0, n))
	wk, wv, k0 := p.store.window(l, p.at, k, v)
	wdk, wdv := p.store.grads(l, p.at)
	a := p.attn(l, k0, s)
	a.K, a.V, a.DO, a.DQ, a.DK, a.DV = wk, wv, do, dq, wdk, wdv
	a.Delta, a.Work, a.Fresh = p.delta.Rows(0, m.H*n).Reshape(m.H, n), p.work, p.at.i+1 == p.g.tiles()
	b.AttnBackward(a)
	p.store.ahead(l-1, p.at)
	p.store.owe(l, p.at, wdk, wdv)
	own := wdk.Dim(0) - n
	dk, dv := wdk.Rows(own, own+n), wdv.Rows(own, own+n)
	b.Rope(dq, dq, p.csT(), true)
	if b.Act() == tensor.F32 {
		b.Rope(dk, dk, p.csT(), true)
	} else {
		ak, av := s.k.Rows(0, n), s.v.Rows(0, n) // the layer's own are not wanted any more
		b.Rope(ak, dk, p.csT(), true)
		b.Convert(av, dv)
		dk, dv = ak, av
	}
	h1 := ops.Tensor{}
	if p.reads(y, Q) || p.reads(y, K) || p.reads(y, V) {
		h1 = p.norm.Rows(0, n)
		b.RMSNormForward(h1, s.rstd1.Rows(0, n), s.xin.Rows(0, n), y.norm(AttnIn).W, m.Eps)
	}
	dn := p.dn.Rows(0, n)
	kv := m.Hkv * m.D
	b.LinearBackward(dn, h1, p.keysT(), []ops.ProjGrad{
		p.gradRows(y, s, Q, dq.Reshape(n, m.H*m.D), 0, n), p.gradRows(y, s, K, dk.Reshape(n, kv), 0, n), p.gradRows(y, s, V, dv.Reshape(n, kv), 0, n)})
	b.RMSNormBackward(dx, y.norm(AttnIn).DW, dn, s.xin.Rows(0, n), s.rstd1.Rows(0, n), y.norm(AttnIn).W)
}
