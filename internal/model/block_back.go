package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// backward goes from dx, the gradient of layer l's output over a tile, to those of its queries, keys and values, and
// adds to dx what comes through the MLP; backwardQKV adds the rest. Of branches side by side the one's last linear
// layer is gone through before the other adds to dx.
func (r *Runner) backward(l int, p *pass, s *saved, dx ops.Tensor) {
	n := p.n()
	if r.M.Parallel {
		r.backwardO(l, p, s, dx)
	}
	for lo := 0; lo < n; lo += r.MLPRows {
		r.backwardMLP(l, p, s, dx, lo, min(lo+r.MLPRows, n))
	}
	if !r.M.Parallel {
		r.backwardO(l, p, s, dx)
	}
	r.backwardAttn(l, p, s)
}

// again makes kept queries, keys and values ready that their linear layers gave as attention does not read them, and
// gives the next rank once more what it has not kept, well before its attention wants it. Those that are made again go
// as they are made.
func (r *Runner) again(l int, p *pass, s *saved) {
	if p.g.divided() {
		p.store.settle()
	}
	var k, v ops.Tensor
	p.strips(func() {
		y := p.view(s)
		if r.M.Has(QNorm) {
			r.place(l, p, y, queries|keysValues)
		}
		k, v = r.ownKV(l, p, y)
		p.store.lay(p.lo, k, v)
	})
	if p.g.divided() {
		p.store.keep(l, p.at, k, v)
	}
}

// unjoin is the gradient of what a branch's last linear layer gave, dx being the residual stream's; room receives it
// where it is not dx itself. No family has both a norm there and a multiplier.
func (r *Runner) unjoin(layer *Layer, s *saved, br branch, dx, room ops.Tensor) ops.Tensor {
	w := layer.norm(br.norm)
	switch {
	case !w.W.None():
		r.B.Zero(room)
		r.normBack(w, room, dx, s.added(br), r.statOf(s, br.norm, br.lo, br.hi))
	case r.M.BranchBy > 0:
		r.B.Scale(room, ops.Tensor{}, dx, r.M.BranchBy)
	default:
		return dx
	}
	return room
}

// backwardMLP does the MLP's rows [lo, hi).
func (r *Runner) backwardMLP(l int, p *pass, s *saved, dx ops.Tensor, lo, hi int) {
	b, y, br := r.B, &r.M.Layers[l], branch{Down, MLPOut, lo, hi}
	g, u := s.gateUpRows(lo, hi)
	h, made := p.h.Rows(0, hi-lo), false
	if p.keepOf(l) != KeepAll {
		g, u = r.gateUp(l, p, s, lo, hi)
		if !y.norm(MLPOut).W.None() {
			made = true
			r.activate(h, g, u)
			b.LinearForward(h, p.keysRows(lo, hi), []ops.Proj{p.projRows(y, s, Down, s.added(br), lo, hi)})
			r.normed(y.norm(MLPOut), p.norm.Rows(0, hi-lo), r.statOf(s, MLPOut, lo, hi), s.added(br))
		}
	}
	if !p.reads(y, Down) {
		h = ops.Tensor{}
	} else if !made {
		r.activate(h, g, u)
	}
	dh, dxr, dn := p.dh.Rows(0, hi-lo), dx.Rows(lo, hi), p.dn.Rows(0, hi-lo)
	keys := p.keysRows(lo, hi)
	b.LinearBackward(dh, h, keys, []ops.ProjGrad{p.gradRows(y, s, Down, r.unjoin(y, s, br, dxr, dn), lo, hi)})
	from := []ops.ProjGrad{p.gradRows(y, s, Gate, g, lo, hi)}
	if !u.None() {
		from = append(from, p.gradRows(y, s, Up, u, lo, hi))
	}
	if gater := r.gater(u); gater == nil || !gater.GatedBackward(dn, dh, from[0], from[1]) {
		r.activateBack(dh, g, u)
		x := ops.Tensor{}
		if p.reads(y, Gate) || p.reads(y, Up) {
			x = r.mlpNormed(y, p, s, lo, hi)
		}
		b.LinearBackward(dn, x, keys, from)
	}
	r.normBack(y.norm(MLPIn), dxr, dn, r.mlpIn(s, lo, hi), r.statOf(s, MLPIn, lo, hi))
}

// backwardO leaves the gradient of what attention gave in p.do.
func (r *Runner) backwardO(l int, p *pass, s *saved, dx ops.Tensor) {
	m, n := r.M, p.n()
	y, x := &m.Layers[l], ops.Tensor{}
	if p.reads(y, O) {
		x = s.o.Rows(0, n).Reshape(n, m.H*m.D)
	}
	dy := r.unjoin(y, s, branch{O, AttnOut, 0, n}, dx, p.norm.Rows(0, n))
	r.B.LinearBackward(p.do.Rows(0, n).Reshape(n, m.H*m.D), x, p.keysT(), []ops.ProjGrad{p.gradRows(y, s, O, dy, 0, n)})
}

// backwardAttn goes on from backwardO to the gradients of a tile's queries, in p.dq, and of all keys and values that
// they see, in the store.
func (r *Runner) backwardAttn(l int, p *pass, s *saved) {
	m, n := r.M, p.n()
	k, v := r.ownKV(l, p, s)
	a := p.attn(l, s, k, v)
	if p.lo == 0 {
		p.store.grads(l, p.at)
	}
	a.DK, a.DV = p.store.gradRows(l, p.at, p.sees(l, a.K0))
	a.DO, a.DQ = p.do.Rows(0, n), p.of(p.dq)
	a.Delta, a.Work, a.Fresh = p.delta.Rows(0, m.H*n).Reshape(m.H, n), p.work, p.store.fresh(p.at)
	a.All = p.g.tiles() == 1
	if !m.unturned(l) {
		a.Turn = p.csT()
	}
	r.B.AttnBackward(a)
}

// backwardQKV goes on from there to the input of a tile's attention.
func (r *Runner) backwardQKV(l int, p *pass, s *saved, dx ops.Tensor) {
	b, m, n := r.B, r.M, p.n()
	y := &m.Layers[l]
	dq := p.of(p.dq)
	dk, dv := p.store.gradRows(l, p.at, span{p.at.t0 + p.lo, p.at.t0 + p.hi})
	switch {
	case p.g.tiles() == 1: // they are as the linear layers want them
	case b.Act() == tensor.F32:
		r.turn(l, p, dk, dk, true)
	default: // the layer's own keys and values are not wanted any more
		if p.g.divided() {
			p.store.settle()
		}
		ak, av := s.k.Rows(0, n), s.v.Rows(0, n)
		if m.Has(KNorm) {
			ak = p.kn.Rows(0, n)
		}
		r.turn(l, p, ak, dk, true)
		b.Convert(av, dv)
		dk, dv = ak, av
	}
	if m.Has(QNorm) {
		dq, dk = r.unnorm(p, y, s, dq, dk)
	}
	h := ops.Tensor{}
	if p.reads(y, Q) || p.reads(y, K) || p.reads(y, V) || p.reads(y, QKV) {
		h = r.normed(y.norm(AttnIn), p.norm.Rows(0, n), r.statOf(s, AttnIn, 0, n), s.xin.Rows(0, n))
	}
	dn := p.dn.Rows(0, n)
	r.backProject(p, y, s, dn, h, dq, dk, dv)
	r.normBack(y.norm(AttnIn), dx, dn, s.xin.Rows(0, n), r.statOf(s, AttnIn, 0, n))
}

// unnorm takes the gradients of normed queries and keys back to what their linear layers gave. The memory of what
// attention gave, and of its queries, is free by now.
func (r *Runner) unnorm(p *pass, y *Layer, s *saved, dq, dk ops.Tensor) (rawDQ, rawDK ops.Tensor) {
	m, n := r.M, p.n()
	rawDQ = s.o.Rows(0, n)
	rawDK = p.qn.Reshape(p.qn.Elems()).Rows(0, n*m.Hkv*m.D).Reshape(n, m.Hkv, m.D)
	for _, x := range []struct {
		role         Role
		to, from, at ops.Tensor
	}{{QNorm, rawDQ, dq, s.q}, {KNorm, rawDK, dk, s.k}} {
		w := m.width(x.role)
		r.B.Zero(x.to)
		r.normBack(y.norm(x.role), vectors(x.to, w), vectors(x.from, w), vectors(x.at.Rows(0, n), w), r.statOf(s, x.role, 0,
			n))
	}
	return rawDQ, rawDK
}

// backProject is the way back of forwardQKV, into dn.
func (r *Runner) backProject(p *pass, y *Layer, s *saved, dn, h, dq, dk, dv ops.Tensor) {
	m, n := r.M, p.n()
	if !m.Has(QKV) {
		kv := m.Hkv * m.D
		r.B.LinearBackward(dn, h, p.keysT(), []ops.ProjGrad{p.gradRows(y, s, Q, dq.Reshape(n, m.H*m.D), 0, n),
			p.gradRows(y, s, K, dk.Reshape(n, kv), 0, n), p.gradRows(y, s, V, dv.Reshape(n, kv), 0, n)})
		return
	}
	all := p.qkv.Rows(0, n)
	for i, t := range []ops.Tensor{dq, dk, dv} {
		c := m.byHead(n, i)
		c.SrcOff, c.SrcStride, c.DstOff, c.DstStride = c.DstOff, c.DstStride, c.SrcOff, c.SrcStride
		r.B.CopyRows(all, t, c)
	}
	r.B.LinearBackward(dn, h, p.keysT(), []ops.ProjGrad{p.gradRows(y, s, QKV, all, 0, n)})
}
