//go:build !cgo

package cpu

import (
	"math"
	"sync/atomic"
	"unsafe"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// Set is the kernels in plain Go: what a build without cgo has. Each method computes what the C kernel of the
// same name does.
type Set int

// Plain is the only set of a build without cgo.
const Plain Set = 0

func (s Set) String() string { return "go" }

// Cgo reports whether the kernels are C.
const Cgo = false

// Best is the only set.
func Best() Set { return Plain }

func floats(p ptr, n int) []float32 { return unsafe.Slice((*float32)(p), n) }

func stopped(stop *uint32) bool { return stop != nil && atomic.LoadUint32(stop) != 0 }

// GemmWork is how many floats of scratch Gemm wants.
func (s Set) GemmWork() int { return 0 }

// Gemm computes a block of a sum of products.
func (s Set) Gemm(a *Gemm) {
	m0, m1, n0, n1 := a.M0, a.M1, a.N0, a.N1
	for i := m0; i < m1; i++ {
		row := floats(unsafe.Add(a.C, 4*(i*a.LDC+n0)), n1-n0)
		if a.CIn == nil {
			clear(row)
		} else {
			copy(row, floats(unsafe.Add(a.CIn, 4*(i*a.LDCIn+n0)), n1-n0))
		}
	}
	out := floats(unsafe.Add(a.C, 4*(m0*a.LDC+n0)), (m1-m0-1)*a.LDC+n1-n0)
	for _, t := range a.Terms {
		if t.K == 0 || stopped(a.Stop) {
			continue
		}
		ta, lda := blas.NoTrans, t.ARS
		x := floats(unsafe.Add(t.A, 4*m0*t.ARS), (m1-m0-1)*t.ARS+t.K)
		if t.ARS == 1 && t.ACS != 1 && t.K > 1 {
			ta, lda = blas.Trans, t.ACS
			x = floats(unsafe.Add(t.A, 4*m0), (t.K-1)*t.ACS+m1-m0)
		}
		if ta == blas.NoTrans && m1-m0 == 1 { // of one row the stride is not used, and may be less than gonum takes
			lda = max(lda, t.K)
		}
		b, ldb := t.block(n0, n1)
		gonum.Implementation{}.Sgemm(ta, blas.NoTrans, m1-m0, n1-n0, t.K, t.Alpha, x, max(lda, 1), b, ldb, 1, out, a.LDC)
	}
	for i := m0; a.Bias != nil && i < m1; i++ {
		row := floats(unsafe.Add(a.C, 4*(i*a.LDC+n0)), n1-n0)
		for j, v := range floats(unsafe.Add(a.Bias, 4*n0), n1-n0) {
			row[j] += v
		}
	}
}

// block is B's columns [n0,n1) as rows, copied unless they lie so already: gonum adds a product of such operands
// up in the order of k, whatever rows and columns are asked for, so an element's bits do not depend on them.
func (t Term) block(n0, n1 int) ([]float32, int) {
	if t.B.plain() && t.BCS == 1 && t.BRS >= n1-n0 { // a B of one row may have both strides 1
		return floats(unsafe.Add(t.B.P, 4*n0), (t.K-1)*t.BRS+n1-n0), t.BRS
	}
	n := n1 - n0
	b := make([]float32, t.K*n)
	if t.BCS == 1 {
		for k := range t.K {
			t.B.row(b[k*n:(k+1)*n], k*t.BRS+n0)
		}
		return b, n
	}
	col := make([]float32, t.K)
	for j := range n {
		t.B.row(col, (n0+j)*t.BCS)
		for k, v := range col {
			b[k*n+j] = v
		}
	}
	return b, n
}

// plain reports whether the elements are floats as they lie.
func (m Matrix) plain() bool { return m.Codes == nil && m.Type == tensor.F32 }

// row fills dst with the elements from i on.
func (m Matrix) row(dst []float32, i int) {
	switch {
	case m.Codes != nil:
		quant.Decode(dst, *m.Codes, i)
	case m.Type == tensor.F32:
		copy(dst, floats(unsafe.Add(m.P, 4*i), len(dst)))
	default:
		tensor.Widen(dst, unsafe.Slice((*byte)(unsafe.Add(m.P, 2*i)), 2*len(dst)), m.Type)
	}
}

// Skinny computes a product of few columns.
func (s Set) Skinny(a *Skinny) {
	for i := range a.M {
		x, y := floats(unsafe.Add(a.A, 4*i*a.LDA), a.K), floats(unsafe.Add(a.C, 4*i*a.LDC), a.N)
		for j := range y {
			y[j] = dot(x, floats(unsafe.Add(a.B, 4*j*a.LDB), a.K))
		}
	}
}

func dot(x, y []float32) float32 {
	t := float32(0)
	for i, v := range x {
		t += v * y[i]
	}
	return t
}

// Gemv computes a product with one row.
func (s Set) Gemv(a *Gemv) {
	xs, ys, w := floats(a.X, a.In), floats(a.Y, a.Out), make([]float32, a.In)
	for o := range ys {
		at := (a.First + o) * a.In
		if a.W.plain() {
			ys[o] = dot(xs, floats(unsafe.Add(a.W.P, 4*at), a.In))
			continue
		}
		a.W.row(w, at)
		ys[o] = dot(xs, w)
	}
}

// AttnWork is how many floats of scratch attention wants.
func (s Set) AttnWork(int) int { return 0 }

// seen calls f with every key that query q of piece p sees, in order.
func (a *Attn) seen(q, p int, f func(k int)) {
	for kp := 0; kp <= p; kp++ {
		first := a.Lo[kp]
		if a.Window > 0 {
			first = max(first, q-a.Window+1)
		}
		for k := first; k < a.Hi[kp] && (kp < p || k <= q); k++ {
			f(k)
		}
	}
}

func (a *Attn) row(p ptr, i, stride int) []float32 { return floats(unsafe.Add(p, 4*i*stride), a.D) }

// Attention runs the forward pass, or the backward pass.
func (s Set) Attention(a *Attn, back bool, _ ptr) {
	for p := range 2 {
		for q := a.QLo[p]; q < a.QHi[p] && !stopped(a.Stop); q++ {
			if back {
				a.backward(q, p)
			} else {
				a.forward(q, p)
			}
		}
	}
}

// score is a query's with a key, capped, and the slope of the cap.
func (a *Attn) score(q, k []float32) (s float64, slope float32) {
	s = float64(a.Scale) * float64(dot(q, k))
	if a.Cap == 0 {
		return s, 1
	}
	t := math.Tanh(s / float64(a.Cap))
	return float64(a.Cap) * t, float32(1 - t*t)
}

func (a *Attn) forward(q, p int) {
	x, o := a.row(a.Q, q-a.Q0, a.QS), a.row(a.Out, q-a.Q0, a.QS)
	acc := make([]float32, a.D)
	m, l := math.Inf(-1), 0.0
	a.seen(q, p, func(k int) {
		t, _ := a.score(x, a.row(a.K, k-a.K0, a.KS))
		if t > m {
			f := math.Exp(m - t)
			l *= f
			for i := range acc {
				acc[i] *= float32(f)
			}
			m = t
		}
		e := math.Exp(t - m)
		l += e
		for i, v := range a.row(a.V, k-a.K0, a.KS) {
			acc[i] += float32(e) * v
		}
	})
	for i := range o {
		o[i] = acc[i] / float32(l)
	}
	floats(a.LSE, q-a.Q0+1)[q-a.Q0] = float32(m + math.Log(l))
}

func (a *Attn) backward(q, p int) {
	r := q - a.Q0
	x, do, dq := a.row(a.Q, r, a.QS), a.row(a.DOut, r, a.QS), a.row(a.DQ, r, a.QS)
	delta := dot(do, a.row(a.O, r, a.QS))
	floats(a.Delta, r+1)[r] = delta
	lse := float64(floats(a.LSE, r+1)[r])
	clear(dq)
	a.seen(q, p, func(k int) {
		j := k - a.K0
		kr, dk, dv := a.row(a.K, j, a.KS), a.row(a.DK, j, a.KS), a.row(a.DV, j, a.KS)
		t, slope := a.score(x, kr)
		e := float32(math.Exp(t - lse))
		ds := e * (dot(do, a.row(a.V, j, a.KS)) - delta) * slope * a.Scale
		for i := range dq {
			dq[i] += ds * kr[i]
			dk[i] += ds * x[i]
			dv[i] += e * do[i]
		}
	})
}

// Softmax returns -log p of a row's target. best, when wanted, is the lowest index of the largest logit.
func (s Set) Softmax(a *Softmax, best *int32) float32 {
	x, target, scale, grad := floats(a.Row, a.N), a.Target, a.Scale, a.Grad
	for i, v := range x {
		if a.Cap > 0 {
			x[i] = a.Cap * float32(math.Tanh(float64(v/a.Cap)))
		}
	}
	top, at := float32(math.Inf(-1)), int32(0)
	for i, v := range x {
		if v > top {
			top, at = v, int32(i)
		}
	}
	if best != nil {
		*best = at
	}
	if target < 0 {
		return 0
	}
	hit, z := x[target], 0.0
	for _, v := range x {
		z += math.Exp(float64(v - top))
	}
	for i, v := range x {
		if !grad {
			break
		}
		g := scale * float32(math.Exp(float64(v-top))/z)
		if int32(i) == target {
			g -= scale
		}
		if a.Cap > 0 {
			g *= 1 - v/a.Cap*(v/a.Cap)
		}
		x[i] = g
	}
	return float32(math.Log(z)) + (top - hit)
}

// RMSForward norms rows.
func (s Set) RMSForward(a *RMS) {
	n, c := a.N, a.C
	ws, rs := floats(a.W, c), floats(a.RStd, n)
	for t := range n {
		xs, ys := floats(unsafe.Add(a.X, 4*t*c), c), floats(unsafe.Add(a.Y, 4*t*c), c)
		q := 0.0
		for _, v := range xs {
			q += float64(v) * float64(v)
		}
		rs[t] = float32(1 / math.Sqrt(q/float64(c)+float64(a.Eps)))
		for i, v := range xs {
			ys[i] = v * rs[t] * (a.Plus + ws[i])
		}
	}
}

// RMSBackward adds to DX.
func (s Set) RMSBackward(a *RMS) {
	n, c := a.N, a.C
	ws, rs := floats(a.W, c), floats(a.RStd, n)
	for t := range n {
		o := 4 * t * c
		xs, dys, dxs := floats(unsafe.Add(a.X, o), c), floats(unsafe.Add(a.DY, o), c), floats(unsafe.Add(a.DX, o), c)
		q := float32(0)
		for i, v := range xs {
			q += dys[i] * (a.Plus + ws[i]) * v
		}
		f := rs[t] * rs[t] * q / float32(c)
		for i, v := range xs {
			dxs[i] += rs[t] * (dys[i]*(a.Plus+ws[i]) - v*f)
		}
	}
}

func sigmoid(x float32) float32 { return float32(1 / (1 + math.Exp(-float64(x)))) }

// SwiGLUForward is h = g·σ(g)·u over n elements.
func (s Set) SwiGLUForward(h, g, u ptr, n int) {
	hs, gs, us := floats(h, n), floats(g, n), floats(u, n)
	for i, v := range gs {
		hs[i] = v * sigmoid(v) * us[i]
	}
}

// SwiGLUBackward is its gradient over n elements.
func (s Set) SwiGLUBackward(dg, du, dh, g, u ptr, n int) {
	dgs, dus, dhs, gs, us := floats(dg, n), floats(du, n), floats(dh, n), floats(g, n), floats(u, n)
	for i, v := range gs {
		q, y := sigmoid(v), us[i]
		dgs[i], dus[i] = dhs[i]*y*q*(1+v*(1-q)), dhs[i]*v*q
	}
}

// RMSWeight adds Σ_t RStd[t]·DY[t][i]·X[t][i] to dw for w adjacent channels.
func (s Set) RMSWeight(dw ptr, a *RMS, w int) {
	d, r := floats(dw, w), floats(a.RStd, a.N)
	for t := range r {
		g, v := floats(unsafe.Add(a.DY, 4*t*a.C), w), floats(unsafe.Add(a.X, 4*t*a.C), w)
		for i := range d {
			d[i] += r[t] * g[i] * v[i]
		}
	}
}

// mix is the finalizer of splitmix64, as in ops.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// of gives what token t's channels are multiplied by.
func (d Drop) of(t int) func(c int) float32 {
	key := mix(unsafe.Slice((*uint64)(d.Keys), t+1)[t] ^ d.Salt)
	return func(c int) float32 {
		if mix(key^uint64(c)) >= d.Bound {
			return d.Factor
		}
		return 0
	}
}

// Drop is y = drop(x) for n tokens of c channels.
func (s Set) Drop(y, x ptr, d Drop, n, c int) {
	ys, xs := floats(y, n*c), floats(x, n*c)
	for t := range n {
		factor := d.of(t)
		for j := range c {
			ys[t*c+j] = factor(j) * xs[t*c+j]
		}
	}
}

// DropDA adds to DA.
func (s Set) DropDA(a *DropGrad) {
	n, c, r := a.N, a.C, a.R
	das, dxas, xs := floats(a.DA, r*c), floats(a.DXA, n*r), floats(a.X, n*c)
	for t := range n {
		factor := a.Drop.of(t)
		for j := a.I; j < a.I+a.W; j++ {
			z := factor(j) * a.Scale * xs[t*c+j]
			for k := range r {
				das[k*c+j] += dxas[t*r+k] * z
			}
		}
	}
}

// DropDX adds to DX.
func (s Set) DropDX(a *DropGrad) {
	n, c, r := a.N, a.C, a.R
	dxs, dxas, as := floats(a.DX, n*c), floats(a.DXA, n*r), floats(a.A, r*c)
	for t := range n {
		factor := a.Drop.of(t)
		for j := range c {
			q := float32(0)
			for k := range r {
				q += dxas[t*r+k] * as[k*c+j]
			}
			dxs[t*c+j] += a.Scale * factor(j) * q
		}
	}
}

// Rope turns heads.
func (s Set) Rope(a *Rope) {
	d, r, e := a.D, a.R, a.R/2
	for t := range a.N {
		c := floats(unsafe.Add(a.CS, 4*t*r), r)
		for h := range a.Heads {
			o := 4 * (t*a.Heads + h) * d
			x, y := floats(unsafe.Add(a.Src, o), d), floats(unsafe.Add(a.Dst, o), d)
			copy(y[r:], x[r:])
			for i := range e {
				u, v := x[i], x[i+e]
				y[i], y[i+e] = u*c[i]-v*a.Sign*c[i+e], v*c[i]+u*a.Sign*c[i+e]
			}
		}
	}
}

// AdamW updates elements.
func (s Set) AdamW(a *AdamW) {
	ws, ms, vs := floats(a.W, a.N), floats(a.M, a.N), floats(a.V, a.N)
	for i, y := range floats(a.Grad, a.N) {
		x := a.GradScale * y
		ms[i] += (x - ms[i]) * a.R1
		vs[i] = a.B2*vs[i] + a.R2*x*x
		ws[i] = ws[i]*a.Decay - a.Step*ms[i]/(float32(math.Sqrt(float64(vs[i])))*a.Root+a.Eps)
	}
}
