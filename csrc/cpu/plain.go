//go:build !cgo

package cpu

import (
	"math"
	"unsafe"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"

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

type ptr = unsafe.Pointer

func floats(p ptr, n int) []float32 { return unsafe.Slice((*float32)(p), n) }

// Term is one product of a sum of products: Alpha·A·B with A (m,K) as A[i·ARS+k·ACS] and B (K,n) as
// B[k·BRS+j·BCS]; one stride of each is 1. BType: 0 float32, 1 bfloat16, 2 float16.
type Term struct {
	A        ptr
	ARS, ACS int
	Alpha    float32
	B        ptr
	BRS, BCS int
	BType    int
	K        int
}

// GemmWork is how many floats of scratch Gemm wants.
func (s Set) GemmWork() int { return 0 }

// Gemm computes rows [m0,m1) and columns [n0,n1) of c = cin + Σ terms + bias; bias nil is none.
func (s Set) Gemm(terms []Term, c ptr, ldc int, cin ptr, ldcin int, bias ptr, m0, m1, n0, n1 int, _ ptr) {
	for i := m0; i < m1; i++ {
		row := floats(unsafe.Add(c, 4*(i*ldc+n0)), n1-n0)
		if cin == nil {
			clear(row)
		} else {
			copy(row, floats(unsafe.Add(cin, 4*(i*ldcin+n0)), n1-n0))
		}
	}
	out := floats(unsafe.Add(c, 4*(m0*ldc+n0)), (m1-m0-1)*ldc+n1-n0)
	for _, t := range terms {
		if t.K == 0 {
			continue
		}
		ta, lda := blas.NoTrans, t.ARS
		a := floats(unsafe.Add(t.A, 4*m0*t.ARS), (m1-m0-1)*t.ARS+t.K)
		if t.ARS == 1 && t.ACS != 1 && t.K > 1 {
			ta, lda = blas.Trans, t.ACS
			a = floats(unsafe.Add(t.A, 4*m0), (t.K-1)*t.ACS+m1-m0)
		}
		if ta == blas.NoTrans && m1-m0 == 1 { // of one row the stride is not used, and may be less than gonum takes
			lda = max(lda, t.K)
		}
		b, ldb := t.block(n0, n1)
		gonum.Implementation{}.Sgemm(ta, blas.NoTrans, m1-m0, n1-n0, t.K, t.Alpha, a, max(lda, 1), b, ldb, 1, out, ldc)
	}
	for i := m0; bias != nil && i < m1; i++ {
		row := floats(unsafe.Add(c, 4*(i*ldc+n0)), n1-n0)
		for j, v := range floats(unsafe.Add(bias, 4*n0), n1-n0) {
			row[j] += v
		}
	}
}

// block is B's columns [n0,n1) as rows, copied unless they lie so already: gonum adds a product of such operands
// up in the order of k, whatever rows and columns are asked for, so an element's bits do not depend on them.
func (t Term) block(n0, n1 int) ([]float32, int) {
	if t.BType == 0 && t.BCS == 1 && t.BRS >= n1-n0 { // a B of one row may have both strides 1
		return floats(unsafe.Add(t.B, 4*n0), (t.K-1)*t.BRS+n1-n0), t.BRS
	}
	n := n1 - n0
	b := make([]float32, t.K*n)
	for k := range t.K {
		for j := range n {
			if at := k*t.BRS + (n0+j)*t.BCS; t.BType == 0 {
				b[k*n+j] = *(*float32)(unsafe.Add(t.B, 4*at))
			} else {
				b[k*n+j] = half(t.B, at, t.BType)
			}
		}
	}
	return b, n
}

func half(p ptr, i, btype int) float32 {
	v := *(*uint16)(unsafe.Add(p, 2*i))
	if btype == 1 {
		return tensor.BF16ToF32(v)
	}
	return tensor.F16ToF32(v)
}

// Skinny is c[i][j] = Σ_k a[i][k]·b[j][k].
func (s Set) Skinny(c ptr, ldc int, a ptr, lda, m int, b ptr, ldb, n, k int) {
	for i := range m {
		x, y := floats(unsafe.Add(a, 4*i*lda), k), floats(unsafe.Add(c, 4*i*ldc), n)
		for j := range n {
			y[j] = dot(x, floats(unsafe.Add(b, 4*j*ldb), k))
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

// Gemv is y[o] = Σ_i w[o][i]·x[i].
func (s Set) Gemv(y, x, w ptr, btype, out, in int) {
	xs, ys := floats(x, in), floats(y, out)
	for o := range ys {
		if btype == 0 {
			ys[o] = dot(xs, floats(unsafe.Add(w, 4*o*in), in))
			continue
		}
		ys[o] = 0
		for i, v := range xs {
			ys[o] += v * half(w, o*in+i, btype)
		}
	}
}

// Attn is one query head over one segment; see ll_attn_t in kernels.h.
type Attn struct {
	Q, K, V, O, DOut, Out, DQ, DK, DV, LSE, Delta ptr
	QS, KS, Q0, K0                                int
	Lo, Hi, QLo, QHi                              [2]int
	Window                                        int
	D                                             int
	Scale                                         float32
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
		for q := a.QLo[p]; q < a.QHi[p]; q++ {
			if back {
				a.backward(q, p)
			} else {
				a.forward(q, p)
			}
		}
	}
}

func (a *Attn) forward(q, p int) {
	x, o := a.row(a.Q, q-a.Q0, a.QS), a.row(a.Out, q-a.Q0, a.QS)
	acc := make([]float32, a.D)
	m, l := math.Inf(-1), 0.0
	a.seen(q, p, func(k int) {
		t := float64(a.Scale) * float64(dot(x, a.row(a.K, k-a.K0, a.KS)))
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
		e := float32(math.Exp(float64(a.Scale)*float64(dot(x, kr)) - lse))
		ds := e * (dot(do, a.row(a.V, j, a.KS)) - delta) * a.Scale
		for i := range dq {
			dq[i] += ds * kr[i]
			dk[i] += ds * x[i]
			dv[i] += e * do[i]
		}
	})
}

// Softmax is one row's loss and, with grad, its gradient in place.
func (s Set) Softmax(row ptr, n int, target int32, scale float32, grad bool, best *int32) float32 {
	x := floats(row, n)
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
		if grad {
			x[i] = scale * float32(math.Exp(float64(v-top))/z)
		}
	}
	if grad {
		x[target] -= scale
	}
	return float32(math.Log(z)) + (top - hit)
}

// RMSForward norms n rows of c.
func (s Set) RMSForward(y, rstd, x, w ptr, n, c int, eps float32) {
	ws, rs := floats(w, c), floats(rstd, n)
	for t := range n {
		xs, ys := floats(unsafe.Add(x, 4*t*c), c), floats(unsafe.Add(y, 4*t*c), c)
		q := 0.0
		for _, v := range xs {
			q += float64(v) * float64(v)
		}
		rs[t] = float32(1 / math.Sqrt(q/float64(c)+float64(eps)))
		for i, v := range xs {
			ys[i] = v * rs[t] * ws[i]
		}
	}
}

// RMSBackward adds to dx for n rows of c.
func (s Set) RMSBackward(dx, dy, x, rstd, w ptr, n, c int) {
	ws, rs := floats(w, c), floats(rstd, n)
	for t := range n {
		o := 4 * t * c
		xs, dys, dxs := floats(unsafe.Add(x, o), c), floats(unsafe.Add(dy, o), c), floats(unsafe.Add(dx, o), c)
		q := float32(0)
		for i, v := range xs {
			q += dys[i] * ws[i] * v
		}
		f := rs[t] * rs[t] * q / float32(c)
		for i, v := range xs {
			dxs[i] += rs[t] * (dys[i]*ws[i] - v*f)
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

// RMSWeight adds Σ_t rstd[t]·dy[t][i]·x[t][i] to dw for w adjacent channels of n tokens of c.
func (s Set) RMSWeight(dw, rstd, dy, x ptr, n, c, w int) {
	d, r := floats(dw, w), floats(rstd, n)
	for t := range n {
		g, v := floats(unsafe.Add(dy, 4*t*c), w), floats(unsafe.Add(x, 4*t*c), w)
		for i := range d {
			d[i] += r[t] * g[i] * v[i]
		}
	}
}

// Drop is dropout: the token keys, the stream's salt, the least hash of a key and a channel that stays, and what is
// kept is multiplied by. See ops.DropKeep.
type Drop struct {
	Keys        ptr
	Salt, Bound uint64
	Factor      float32
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

// DropWidth is the most channels that DropDA takes at a time.
const DropWidth = 64

// DropDA adds scale·Σ_t dxa[t][k]·drop(x)[t][j] to da (r,c), for w channels from i of n tokens.
func (s Set) DropDA(da, dxa, x ptr, d Drop, scale float32, n, c, r, i, w int) {
	das, dxas, xs := floats(da, r*c), floats(dxa, n*r), floats(x, n*c)
	for t := range n {
		factor := d.of(t)
		for j := i; j < i+w; j++ {
			z := factor(j) * scale * xs[t*c+j]
			for k := range r {
				das[k*c+j] += dxas[t*r+k] * z
			}
		}
	}
}

// DropDX adds scale times the dropped row dxa[t]·A to dx, n tokens of c channels; A is (r,c).
func (s Set) DropDX(dx, dxa, a ptr, d Drop, scale float32, n, c, r int) {
	dxs, dxas, as := floats(dx, n*c), floats(dxa, n*r), floats(a, r*c)
	for t := range n {
		factor := d.of(t)
		for j := range c {
			q := float32(0)
			for k := range r {
				q += dxas[t*r+k] * as[k*c+j]
			}
			dxs[t*c+j] += scale * factor(j) * q
		}
	}
}

// Rope turns n tokens' heads.
func (s Set) Rope(dst, src, cs ptr, n, heads, d int, sign float32) {
	e := d / 2
	for t := range n {
		c := floats(unsafe.Add(cs, 4*t*d), d)
		for h := range heads {
			o := 4 * (t*heads + h) * d
			x, y := floats(unsafe.Add(src, o), d), floats(unsafe.Add(dst, o), d)
			for i := range e {
				a, b := x[i], x[i+e]
				y[i], y[i+e] = a*c[i]-b*sign*c[i+e], b*c[i]+a*sign*c[i+e]
			}
		}
	}
}

// AdamW updates n elements: decay is 1 - lr·wd, r1 1-β1, r2 1-β2, step lr/(1-β1^s), root 1/√(1-β2^s).
func (s Set) AdamW(w, m, v, g ptr, n int, gscale, decay, r1, b2, r2, step, root, eps float32) {
	ws, ms, vs := floats(w, n), floats(m, n), floats(v, n)
	for i, y := range floats(g, n) {
		x := gscale * y
		ms[i] += (x - ms[i]) * r1
		vs[i] = b2*vs[i] + r2*x*x
		ws[i] = ws[i]*decay - step*ms[i]/(float32(math.Sqrt(float64(vs[i])))*root+eps)
	}
}
