package optest

import (
	"math"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// embeds: rows of the table, and their gradients added up where tokens repeat.
func embeds(k *kit) {
	// the last two: a token that fills the tile, and a tile that is long enough for any way of sorting it
	for _, c := range [][3]int{{1, 1, 3}, {37, 50, 24}, {300, 7, 33}, {260, 1000, 512}, {130, 1, 16}, {6000, 900, 10}} {
		n, v, w := c[0], c[1], c[2]
		ids := func() *arg {
			x := make([]float64, n)
			for i := range x {
				x[i] = float64(k.r.IntN(v))
			}
			return k.given("ids", tensor.I32, x, n)
		}
		for _, d := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
			k.start("forward, %d tokens of %d, width %d, table %s", n, v, w, d)
			id, table, y := ids(), k.weight(d, v, w), k.out("y", k.act, n, w)
			k.judge(0, func() { k.b.EmbedForward(y.Tensor, table.Tensor, id.Tensor) }, func(r round) [][]float64 {
				var want []float64
				for _, i := range id.v {
					for _, x := range table.v[int(i)*w : (int(i)+1)*w] {
						want = append(want, stored(k.act, x))
					}
				}
				return [][]float64{want}
			}, y)
		}
		k.start("backward, %d tokens of %d, width %d", n, v, w)
		id, dy, dt := ids(), k.normal("dy", k.act, n, w), k.sum("dTable", tensor.F32, v, w)
		k.judge(1e-6, func() { k.b.EmbedBackward(dt.Tensor, dy.Tensor, id.Tensor) }, func(round) [][]float64 {
			want := append([]float64{}, dt.v...)
			for t, i := range id.v {
				for c, g := range dy.v[t*w : (t+1)*w] {
					want[int(i)*w+c] += g
				}
			}
			return [][]float64{want}
		}, dt)
	}
}

// rmsnorms: arXiv 1910.07467, eq. 4, and its derivative.
func rmsnorms(k *kit) {
	const eps = 1e-5
	for _, c := range [][2]int{{1, 2}, {5, 7}, {130, 96}, {67, 333}, {40, 4096}, {3, 8192}, {1500, 40}, {2, 16388}} {
		n, w := c[0], c[1]
		k.start("forward, %d rows of %d", n, w)
		x, g := k.normal("x", k.act, n, w), k.normal("w", tensor.F32, w)
		y, rstd := k.out("y", k.act, n, w), k.out("rstd", tensor.F32, n)
		scales := func() []float64 {
			s := make([]float64, n)
			for t := range s {
				for _, v := range x.v[t*w : (t+1)*w] {
					s[t] += v * v / float64(w)
				}
				s[t] = 1 / math.Sqrt(s[t]+eps)
			}
			return s
		}
		k.judge(3e-6, func() { k.b.RMSNormForward(y.Tensor, rstd.Tensor, x.Tensor, g.Tensor, eps) }, func(r round) [][]float64 {
			s, want := scales(), make([]float64, n*w)
			for i, v := range x.v {
				want[i] = r(v * s[i/w] * g.v[i%w])
			}
			return [][]float64{want, s}
		}, y, rstd)
		for _, frozen := range []bool{false, true} {
			k.start("backward, %d rows of %d, frozen %v", n, w, frozen)
			x, g = k.normal("x", k.act, n, w), k.normal("w", tensor.F32, w)
			dy, dx, dw := k.normal("dy", k.act, n, w), k.sum("dx", k.act, n, w), &arg{}
			outs := []*arg{dx}
			if !frozen {
				dw = k.sum("dw", tensor.F32, w)
				outs = append(outs, dw)
			}
			rs := k.given("rstd", tensor.F32, scales(), n)
			k.judge(3e-6, func() {
				k.b.RMSNormBackward(dx.Tensor, dw.Tensor, dy.Tensor, x.Tensor, rs.Tensor, g.Tensor)
			}, func(r round) [][]float64 {
				wx, ww := make([]float64, n*w), append([]float64{}, dw.v...)
				for t := range n {
					s, mean := rs.v[t], 0.0
					for c := range w {
						mean += dy.v[t*w+c] * g.v[c] * x.v[t*w+c] / float64(w)
					}
					for c := range w {
						i := t*w + c
						wx[i] = r(dx.v[i] + s*(dy.v[i]*g.v[c]-x.v[i]*s*s*mean))
						if !frozen {
							ww[c] += dy.v[i] * x.v[i] * s
						}
					}
				}
				return [][]float64{wx, ww}[:len(outs)]
			}, outs...)
		}
	}
}

// ropes: the table, and turning there and back, in place and from float32 to the activation type.
func ropes(k *kit) {
	for _, c := range [][3]int{{1, 1, 2}, {37, 3, 16}, {130, 5, 64}, {65, 8, 128}, {20, 2, 80}, {9, 5, 20}} {
		n, heads, d := c[0], c[1], c[2]
		k.start("table, %d tokens, head size %d", n, d)
		pos, inv := make([]float64, n), make([]float64, d/2)
		for t := range pos {
			pos[t] = float64(k.r.IntN(1 << (1 + k.r.IntN(20))))
		}
		for i := range inv {
			inv[i] = math.Pow(500000, -2*float64(i)/float64(d)) / 3
		}
		p, f, cs := k.given("pos", tensor.I32, pos, n), k.given("inv", tensor.F32, inv, d/2), k.out("cs", tensor.F32, n, d)
		const scale = 1.25
		// one rounding of the sine and one of the product
		k.judge(2e-7, func() { k.b.RopeTable(cs.Tensor, p.Tensor, f.Tensor, scale) }, func(round) [][]float64 {
			want := make([]float64, n*d)
			for t := range n {
				for i := range d / 2 {
					s, c := math.Sincos(float64(float32(pos[t]) * float32(inv[i])))
					want[t*d+i], want[t*d+d/2+i] = c*scale, s*scale
				}
			}
			return [][]float64{want}
		}, cs)
		for _, from := range []tensor.DType{k.act, tensor.F32} {
			for _, inverse := range []bool{false, true} {
				k.start("turn, %d tokens, %d heads of %d, from %s, inverse %v", n, heads, d, from, inverse)
				cs, src, dst := k.normal("cs", tensor.F32, n, d), k.normal("src", from, n, heads, d), k.out("dst", k.act, n, heads, d)
				k.judge(1e-6, func() { k.b.Rope(dst.Tensor, src.Tensor, cs.Tensor, inverse) }, turned(src, cs, inverse), dst)
				k.start("turn in place, %d tokens, %d heads of %d, %s, inverse %v", n, heads, d, from, inverse)
				cs, src = k.normal("cs", tensor.F32, n, d), k.sum("x", from, n, heads, d)
				f := turned(src, cs, inverse)
				if from != k.act { // float32 beside another activation type: no rounding to it
					f = func(round) [][]float64 { return turned(src, cs, inverse)(exact) }
				}
				k.judge(1e-6, func() { k.b.Rope(src.Tensor, src.Tensor, cs.Tensor, inverse) }, f, src)
			}
		}
	}
}

func turned(src, cs *arg, inverse bool) func(r round) [][]float64 {
	n, heads, d := src.Dim(0), src.Dim(1), src.Dim(2)
	return func(r round) [][]float64 {
		want := make([]float64, n*heads*d)
		for th := range n * heads {
			for i := range d / 2 {
				a, b := th*d+i, th*d+i+d/2
				c, s := cs.v[th/heads*d+i], cs.v[th/heads*d+d/2+i]
				if inverse {
					s = -s
				}
				want[a], want[b] = r(src.v[a]*c-src.v[b]*s), r(src.v[b]*c+src.v[a]*s)
			}
		}
		return [][]float64{want}
	}
}

// swiglus: h = g·σ(g)·u and its derivatives, written apart or over gate and up.
func swiglus(k *kit) {
	for _, c := range [][2]int{{1, 1}, {3, 37}, {130, 688}, {17, 1001}, {2, 999}} {
		n, f := c[0], c[1]
		far := func(g *arg) { // gates where float32's e^-g is 0 or infinite
			for i := range g.v {
				if f == 999 {
					g.v[i] = stored(k.act, 60*g.v[i])
				}
			}
		}
		k.start("forward, %d rows of %d", n, f)
		g, u, h := k.normal("g", k.act, n, f), k.normal("u", k.act, n, f), k.out("h", k.act, n, f)
		far(g)
		k.judge(1e-6, func() { k.b.SwiGLUForward(h.Tensor, g.Tensor, u.Tensor) }, func(r round) [][]float64 {
			want := make([]float64, n*f)
			for i, x := range g.v {
				want[i] = r(x / (1 + math.Exp(-x)) * u.v[i])
			}
			return [][]float64{want}
		}, h)
		for _, over := range []bool{false, true} {
			k.start("backward, %d rows of %d, in place %v", n, f, over)
			dh := k.normal("dh", k.act, n, f)
			var dg, du *arg
			if over {
				g, u = k.sum("g", k.act, n, f), k.sum("u", k.act, n, f)
				dg, du = g, u
			} else {
				g, u, dg, du = k.normal("g", k.act, n, f), k.normal("u", k.act, n, f), k.out("dg", k.act, n, f), k.out("du", k.act, n, f)
			}
			far(g)
			k.judge(1e-6, func() { k.b.SwiGLUBackward(dg.Tensor, du.Tensor, dh.Tensor, g.Tensor, u.Tensor) }, func(r round) [][]float64 {
				wg, wu := make([]float64, n*f), make([]float64, n*f)
				for i, x := range g.v {
					s := 1 / (1 + math.Exp(-x))
					wu[i], wg[i] = r(dh.v[i]*x*s), r(dh.v[i]*u.v[i]*s*(1+x*(1-s)))
				}
				return [][]float64{wg, wu}
			}, dg, du)
		}
	}
}

// adamws: arXiv 1711.05101, alg. 2, as PyTorch computes it; the copy is the new value rounded. From fresh moments and a
// weight of 0 nothing but the update is judged, where 1-β2 is small too.
func adamws(k *kit) {
	for _, c := range []struct {
		n     int
		h     ops.AdamW
		fresh bool
	}{
		{n: 777, h: ops.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1, Step: 1}, fresh: true},
		{n: 778, h: ops.AdamW{LR: 1e-2, Beta1: 0.999, Beta2: 0.9999, Eps: 1e-8, GradScale: 1, Step: 1}, fresh: true},
		{n: 779, h: ops.AdamW{LR: 1e-2, Beta1: 0.9999, Beta2: 0.99999, Eps: 1e-30, GradScale: 0.5, Step: 1}, fresh: true},
		{n: 1, h: ops.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1, Step: 1}},
		{n: 4099, h: ops.AdamW{LR: 3e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-6, Decay: 0.1, GradScale: 0.3, Step: 7}},
		{n: 70001, h: ops.AdamW{LR: 2e-5, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.01, GradScale: 1, Step: 1000}},
	} {
		n, h := c.n, c.h
		k.start("%d elements, step %d", n, h.Step)
		w, m, g := k.sum("w", tensor.F32, n), k.sum("m", tensor.F32, n), k.normal("grad", tensor.F32, n)
		second := k.gauss(n)
		for i := range second {
			second[i] *= second[i]
		}
		if c.fresh {
			clear(w.v)
			clear(m.v)
			clear(second)
		}
		v, cp := k.add(inout, "v", tensor.F32, second, []int{n}), &arg{}
		outs := []*arg{w, m, v}
		if k.act != tensor.F32 {
			cp = k.out("copy", k.act, n)
		}
		call := func() { k.b.AdamW(w.Tensor, m.Tensor, v.Tensor, g.Tensor, cp.Tensor, h) }
		k.judge(1e-6, call, func(round) [][]float64 {
			ww, wm, wv := make([]float64, n), make([]float64, n), make([]float64, n)
			for i := range n {
				x := h.GradScale * g.v[i]
				wm[i], wv[i] = h.Beta1*m.v[i]+(1-h.Beta1)*x, h.Beta2*v.v[i]+(1-h.Beta2)*x*x
				c1, c2 := 1-math.Pow(h.Beta1, float64(h.Step)), 1-math.Pow(h.Beta2, float64(h.Step))
				ww[i] = w.v[i]*(1-h.LR*h.Decay) - h.LR/c1*wm[i]/(math.Sqrt(wv[i])/math.Sqrt(c2)+h.Eps)
			}
			return [][]float64{ww, wm, wv}
		}, outs...)
		if k.act == tensor.F32 {
			continue
		}
		k.check(call, func(after func(*arg) []byte) string {
			want := encode(k.act, decode(tensor.F32, after(w)))
			if string(want) != string(after(cp)) {
				return "copy is not w rounded to " + k.act.String()
			}
			return ""
		})
	}
}
