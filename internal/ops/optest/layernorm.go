package optest

import (
	"math"

	"longlora/internal/tensor"
)

// layernorms: arXiv 1607.06450, eq. 4, and its derivative.
func layernorms(k *kit) {
	const eps = 1e-5
	for _, c := range [][2]int{{1, 2}, {5, 7}, {130, 96}, {67, 333}, {40, 4096}, {1500, 40}} {
		n, w := c[0], c[1]
		k.start("forward, %d rows of %d", n, w)
		x, g, bias := k.normal("x", k.act, n, w), k.normal("w", tensor.F32, w), k.normal("bias", tensor.F32, w)
		y, stat := k.out("y", k.act, n, w), k.out("stat", tensor.F32, n, 2)
		stats := func() []float64 {
			s := make([]float64, 2*n)
			for t := range n {
				row, q := x.v[t*w:(t+1)*w], 0.0
				for _, v := range row {
					s[2*t] += v / float64(w)
				}
				for _, v := range row {
					q += (v - s[2*t]) * (v - s[2*t]) / float64(w)
				}
				s[2*t+1] = 1 / math.Sqrt(q+eps)
			}
			return s
		}
		k.judge(3e-6, func() { k.b.LayerNormForward(y.Tensor, stat.Tensor, x.Tensor, g.Tensor, bias.Tensor, eps) },
			func(r round) [][]float64 {
				s, want := stats(), make([]float64, n*w)
				for i, v := range x.v {
					want[i] = r((v-s[2*(i/w)])*s[2*(i/w)+1]*g.v[i%w] + bias.v[i%w])
				}
				return [][]float64{want, s}
			}, y, stat)
		for _, frozen := range []bool{false, true} {
			k.start("backward, %d rows of %d, frozen %v", n, w, frozen)
			x, g = k.normal("x", k.act, n, w), k.normal("w", tensor.F32, w)
			dy, dx, dw, db := k.normal("dy", k.act, n, w), k.sum("dx", k.act, n, w), &arg{}, &arg{}
			outs := []*arg{dx}
			if !frozen {
				dw, db = k.sum("dw", tensor.F32, w), k.sum("dbias", tensor.F32, w)
				outs = append(outs, dw, db)
			}
			st := k.given("stat", tensor.F32, stats(), n, 2)
			k.judge(3e-6, func() {
				k.b.LayerNormBackward(dx.Tensor, dw.Tensor, db.Tensor, dy.Tensor, x.Tensor, st.Tensor, g.Tensor)
			}, func(r round) [][]float64 {
				wx, ww, wb := make([]float64, n*w), append([]float64{}, dw.v...), append([]float64{}, db.v...)
				for t := range n {
					m, s, sum, hits := st.v[2*t], st.v[2*t+1], 0.0, 0.0
					for c := range w {
						i := t*w + c
						sum += dy.v[i] * g.v[c] / float64(w)
						hits += dy.v[i] * g.v[c] * (x.v[i] - m) * s / float64(w)
					}
					for c := range w {
						i := t*w + c
						h := (x.v[i] - m) * s
						wx[i] = r(dx.v[i] + s*(dy.v[i]*g.v[c]-sum-h*hits))
						if !frozen {
							ww[c], wb[c] = ww[c]+dy.v[i]*h, wb[c]+dy.v[i]
						}
					}
				}
				return [][]float64{wx, ww, wb}[:len(outs)]
			}, outs...)
		}
	}
}
