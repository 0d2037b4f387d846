package optest

import (
	"math"
)

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
				g, u, dg, du = k.normal("g", k.act, n, f), k.normal("u", k.act, n, f), k.out("dg", k.act, n, f), k.out("du", k.act,
					n, f)
			}
			far(g)
			k.judge(1e-6, func() { k.b.SwiGLUBackward(dg.Tensor, du.Tensor, dh.Tensor, g.Tensor, u.Tensor) },
				func(r round) [][]float64 {
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
