package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"longlora/csrc"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// bench hands out tensors for a test; everything it gives starts as NaN.
type bench struct {
	t *testing.T
	b *Backend
	r *rand.Rand
}

func (k bench) poisoned(shape ...int) ops.Tensor {
	n := tensor.Shape(shape).Elems()
	p, err := k.b.Reserve(ops.Device, int64(4*n), "test")
	if err != nil {
		k.t.Fatal(err)
	}
	x := ops.Tensor{P: p, DType: tensor.F32, Shape: shape}
	for i := range x.F32() {
		x.F32()[i] = float32(math.NaN())
	}
	return x
}

func (k bench) zero(shape ...int) ops.Tensor {
	x := k.poisoned(shape...)
	k.b.Zero(x)
	return x
}

func (k bench) normal(shape ...int) ops.Tensor {
	x := k.poisoned(shape...)
	for i := range x.F32() {
		x.F32()[i] = float32(k.r.NormFloat64())
	}
	return x
}

// off is ‖a-b‖/‖b‖; NaN when anything is.
func off(a []float32, b []float64) float64 {
	d, n := 0.0, 1e-30
	for i := range b {
		d += (float64(a[i]) - b[i]) * (float64(a[i]) - b[i])
		n += b[i] * b[i]
	}
	return math.Sqrt(d / n)
}

func eachSet(t *testing.T, f func(k bench)) {
	for s := csrc.Plain; s <= csrc.Best(); s++ {
		t.Run(s.String(), func(t *testing.T) { f(bench{t, NewSet(2, s), rand.New(rand.NewPCG(1, uint64(s)))}) })
	}
}

// oracle is attention by the N×N mask in float64, forward and backward.
func oracle(q, k, v, do []float32, a *ops.Attn, n int) (o, dq, dk, dv []float64) {
	o, dq = make([]float64, n*a.H*a.D), make([]float64, n*a.H*a.D)
	dk, dv = make([]float64, n*a.Hkv*a.D), make([]float64, n*a.Hkv*a.D)
	docs := []int{}
	for _, d := range a.Docs {
		docs = append(docs, int(d))
	}
	for h := range a.H {
		mask := s2attn.Mask(a.Spec, docs, s2attn.Shifted(h, a.H))
		j := h * a.Hkv / a.H
		for t := range n {
			qi := (t*a.H + h) * a.D
			p, sum, top := make([]float64, n), 0.0, math.Inf(-1)
			for s := range n {
				if !mask[t][s] {
					continue
				}
				for d := range a.D {
					p[s] += float64(q[qi+d]) * float64(k[(s*a.Hkv+j)*a.D+d]) * float64(a.Scale)
				}
				top = max(top, p[s])
			}
			for s := range n {
				if mask[t][s] {
					p[s] = math.Exp(p[s] - top)
					sum += p[s]
				} else {
					p[s] = 0
				}
			}
			delta, dp := 0.0, make([]float64, n)
			for s := range n {
				p[s] /= sum
				for d := range a.D {
					vv := float64(v[(s*a.Hkv+j)*a.D+d])
					o[qi+d] += p[s] * vv
					dp[s] += float64(do[qi+d]) * vv
				}
				delta += p[s] * dp[s]
			}
			for s := range n {
				ds := p[s] * (dp[s] - delta) * float64(a.Scale)
				ki := (s*a.Hkv + j) * a.D
				for d := range a.D {
					dq[qi+d] += ds * float64(k[ki+d])
					dk[ki+d] += ds * float64(q[qi+d])
					dv[ki+d] += p[s] * float64(do[qi+d])
				}
			}
		}
	}
	return
}

// Forward and backward against the mask, whole and in tiles with halos; what no query may see is NaN.
func TestAttentionIsTheMask(t *testing.T) {
	eachSet(t, func(k bench) {
		for range 40 {
			heads := [][2]int{{1, 1}, {2, 2}, {4, 2}, {3, 1}, {6, 2}, {9, 3}, {5, 5}}[k.r.IntN(7)]
			a := &ops.Attn{H: heads[0], Hkv: heads[1], D: []int{2, 8, 16, 32, 64}[k.r.IntN(5)], Scale: 0.3, Docs: []int32{0},
				Spec: s2attn.Spec{Mode: s2attn.Mode(k.r.IntN(3)), Group: 2 + 2*k.r.IntN(40)}}
			for range 1 + k.r.IntN(3) {
				n := 1 + k.r.IntN(150)
				if a.Spec.Mode == s2attn.Roll {
					n = a.Spec.Group * (1 + k.r.IntN(3))
				}
				a.Docs = append(a.Docs, a.Docs[len(a.Docs)-1]+int32(n))
			}
			k.attention(a)
		}
		k.attention(&ops.Attn{H: 2, Hkv: 2, D: 128, Scale: 0.1, Docs: []int32{0, 700}, Spec: s2attn.Spec{Mode: s2attn.Split, Group: 256}})
	})
}

func (k bench) attention(a *ops.Attn) {
	n := int(a.Docs[len(a.Docs)-1])
	q, key, v, do := k.normal(n, a.H, a.D), k.normal(n, a.Hkv, a.D), k.normal(n, a.Hkv, a.D), k.normal(n, a.H, a.D)
	wo, wdq, wdk, wdv := oracle(q.F32(), key.F32(), v.F32(), do.F32(), a, n)
	tile := n
	if a.Spec.Mode != s2attn.Roll {
		tile = 1 + k.r.IntN(n)
	}
	o, dq, dk, dv := k.poisoned(n, a.H, a.D), k.poisoned(n, a.H, a.D), k.zero(n, a.Hkv, a.D), k.zero(n, a.Hkv, a.D)
	for t0 := 0; t0 < n; t0 += tile {
		t1 := min(t0+tile, n)
		b := *a
		b.Q0 = t0
		lse, delta := k.poisoned(a.H, t1-t0), k.poisoned(a.H, t1-t0)
		k.b.AttnForward(o.Rows(t0, t1), lse, q.Rows(t0, t1), key.Rows(0, t1), v.Rows(0, t1), &b)
		k.b.AttnBackward(dq.Rows(t0, t1), dk.Rows(0, t1), dv.Rows(0, t1), do.Rows(t0, t1), o.Rows(t0, t1), q.Rows(t0, t1), key.Rows(0, t1), v.Rows(0, t1), lse, delta, &b)
	}
	for name, e := range map[string]float64{"o": off(o.F32(), wo), "dq": off(dq.F32(), wdq), "dk": off(dk.F32(), wdk), "dv": off(dv.F32(), wdv)} {
		if !(e < 1e-5) { // float32 rounding over a few hundred keys
			k.t.Fatalf("%+v tile %d: %s is off by %g", *a, tile, name, e)
		}
	}
}

// Products with every type of weight, a residual and LoRA, forward and backward, against float64.
func TestLinear(t *testing.T) {
	eachSet(t, func(k bench) {
		for i, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16, tensor.F32, tensor.BF16} {
			n, in, out, r := []int{1, 3, 5, 200, 97}[i], 1+k.r.IntN(300), 1+k.r.IntN(600), 1+k.r.IntN(9)
			w := k.normal(out, in)
			stored := ops.Tensor{P: w.P, DType: tensor.F32, Shape: w.Shape}
			if d != tensor.F32 {
				half := make([]uint16, in*out)
				narrow(half, w.F32(), d)
				widen(w.F32(), half, d)
				stored = ops.Tensor{P: unsafe.Pointer(&half[0]), DType: d, Shape: w.Shape}
			}
			l := &ops.LoRA{A: k.normal(r, in), B: k.normal(out, r), DA: k.zero(r, in), DB: k.zero(out, r), Scale: 0.5}
			lin := &ops.Linear{W: stored, DW: k.zero(out, in), LoRA: l}
			x, dy, res, y, dx := k.normal(n, in), k.normal(n, out), k.normal(n, out), k.poisoned(n, out), k.poisoned(n, in)
			xa, dxa := k.poisoned(n, r), k.poisoned(n, r)
			k.b.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: lin, Y: y, Res: res, XA: xa}})
			k.b.LinearBackward(dx, x, ops.Tensor{}, []ops.ProjGrad{{L: lin, DY: dy, XA: xa, DXA: dxa}})
			eff := make([]float64, out*in) // W + scale·B·A
			for o := range out {
				for c := range in {
					s := 0.0
					for q := range r {
						s += float64(l.B.F32()[o*r+q]) * float64(l.A.F32()[q*in+c])
					}
					eff[o*in+c] = float64(w.F32()[o*in+c]) + 0.5*s
				}
			}
			wy, wdx, wdw := make([]float64, n*out), make([]float64, n*in), make([]float64, out*in)
			for t := range n {
				for o := range out {
					g := float64(dy.F32()[t*out+o])
					wy[t*out+o] = float64(res.F32()[t*out+o])
					for c := range in {
						wy[t*out+o] += eff[o*in+c] * float64(x.F32()[t*in+c])
						wdx[t*in+c] += g * eff[o*in+c]
						wdw[o*in+c] += g * float64(x.F32()[t*in+c])
					}
				}
			}
			wda, wdb := make([]float64, r*in), make([]float64, out*r)
			for o := range out {
				for q := range r {
					for c := range in {
						wda[q*in+c] += 0.5 * float64(l.B.F32()[o*r+q]) * wdw[o*in+c]
						wdb[o*r+q] += 0.5 * float64(l.A.F32()[q*in+c]) * wdw[o*in+c]
					}
				}
			}
			for name, e := range map[string]float64{"y": off(y.F32(), wy), "dx": off(dx.F32(), wdx), "dW": off(lin.DW.F32(), wdw), "dA": off(l.DA.F32(), wda), "dB": off(l.DB.F32(), wdb)} {
				if !(e < 3e-6) { // float32 rounding of sums of a few hundred terms
					k.t.Errorf("%s n=%d in=%d out=%d r=%d: %s is off by %g", d, n, in, out, r, name, e)
				}
			}
		}
	})
}

// The same bits for any number of threads, and for a row whatever rows are computed with it.
func TestBitsDependOnTheRowAlone(t *testing.T) {
	bits := func(threads, rows int) string {
		k := bench{t, New(threads), rand.New(rand.NewPCG(5, 6))}
		x, w := k.normal(300, 130), k.normal(777, 130)
		y := k.poisoned(300, 777)
		k.b.LinearForward(x.Rows(0, rows), ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: w}, Y: y.Rows(0, rows)}})
		return fmt.Sprint(y.F32()[:7*777])
	}
	want := bits(1, 300)
	for _, c := range [][2]int{{2, 300}, {3, 300}, {2, 7}, {1, 113}} {
		if bits(c[0], c[1]) != want {
			t.Errorf("%d threads, %d rows: other bits than one thread and 300 rows", c[0], c[1])
		}
	}
}

// The loss and its gradient by the definition, unscored rows and a NaN included.
func TestHeadLoss(t *testing.T) {
	eachSet(t, func(k bench) {
		const n, c, v = 37, 24, 211
		h := &ops.HeadLoss{X: k.normal(n, c), W: k.normal(v, c), DW: k.zero(v, c), NLL: k.poisoned(n), DX: k.poisoned(n, c), Scale: 0.25, Logits: k.poisoned(10, v)}
		targets := k.poisoned(n)
		targets.DType = tensor.I32
		for i := range n {
			targets.I32()[i] = int32(k.r.IntN(v+60)) - 60
			targets.I32()[i] = max(targets.I32()[i], -1)
		}
		h.Targets = targets
		k.b.HeadLoss(h)
		nll, dx, dw := make([]float64, n), make([]float64, n*c), make([]float64, v*c)
		for t := range n {
			if targets.I32()[t] < 0 {
				continue
			}
			z, logit := 0.0, make([]float64, v)
			for o := range v {
				for i := range c {
					logit[o] += float64(h.X.F32()[t*c+i]) * float64(h.W.F32()[o*c+i])
				}
				z += math.Exp(logit[o])
			}
			nll[t] = math.Log(z) - logit[targets.I32()[t]]
			for o := range v {
				g := math.Exp(logit[o]) / z
				if int32(o) == targets.I32()[t] {
					g--
				}
				for i := range c {
					dx[t*c+i] += 0.25 * g * float64(h.W.F32()[o*c+i])
					dw[o*c+i] += 0.25 * g * float64(h.X.F32()[t*c+i])
				}
			}
		}
		for name, e := range map[string]float64{"nll": off(h.NLL.F32(), nll), "dx": off(h.DX.F32(), dx), "dW": off(h.DW.F32(), dw)} {
			if !(e < 1e-5) {
				k.t.Errorf("%s is off by %g", name, e)
			}
		}
		h.X.F32()[3*c] = float32(math.NaN())
		targets.I32()[3] = 1
		k.b.HeadLoss(h)
		if x := h.NLL.F32()[3]; x == x {
			k.t.Errorf("a NaN in the hidden state gave the loss %v", x)
		}
	})
}
