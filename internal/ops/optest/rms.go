package optest

import (
	"math"

	"longlora/internal/tensor"
)

// rmsnorms: arXiv 1910.07467, eq. 4, and its derivative.
func rmsnorms(k *kit) {
	const eps = 1e-5
	for _, c := range [][2]int{{1, 2}, {5, 7}, {130, 96}, {67, 333}, {40, 4096}, {3, 8192}, {1500, 40}, {2, 16388},
		{331, 128}, {1201, 64}, {77, 250}, {2000, 16}} {
		n, w, plus := c[0], c[1], float64(c[0]%2) // 1 + w in every second case
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
		k.judge(3e-6, func() { k.b.RMSNormForward(y.Tensor, rstd.Tensor, x.Tensor, g.Tensor, float32(plus), eps) },
			func(r round) [][]float64 {
				s, want := scales(), make([]float64, n*w)
				for i, v := range x.v {
					want[i] = r(v * s[i/w] * (plus + g.v[i%w]))
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
				k.b.RMSNormBackward(dx.Tensor, dw.Tensor, dy.Tensor, x.Tensor, rs.Tensor, g.Tensor, float32(plus))
			}, func(r round) [][]float64 {
				wx, ww := make([]float64, n*w), append([]float64{}, dw.v...)
				for t := range n {
					s, mean := rs.v[t], 0.0
					for c := range w {
						mean += dy.v[t*w+c] * (plus + g.v[c]) * x.v[t*w+c] / float64(w)
					}
					for c := range w {
						i := t*w + c
						wx[i] = r(dx.v[i] + s*(dy.v[i]*(plus+g.v[c])-x.v[i]*s*s*mean))
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
