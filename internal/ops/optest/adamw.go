package optest

import (
	"math"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// adamws: arXiv 1711.05101, alg. 2, as PyTorch computes it; the copy is the new value rounded. From fresh moments and a
// weight of 0 nothing but the update is judged, where 1-β2 is small too.
func adamws(k *kit) {
	for _, c := range []struct {
		n     int
		h     ops.AdamW
		fresh bool
		space ops.Space
	}{
		{n: 777, h: ops.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1, Step: 1}, fresh: true},
		{n: 778, h: ops.AdamW{LR: 1e-2, Beta1: 0.999, Beta2: 0.9999, Eps: 1e-8, GradScale: 1, Step: 1}, fresh: true},
		{n: 779, h: ops.AdamW{LR: 1e-2, Beta1: 0.9999, Beta2: 0.99999, Eps: 1e-30, GradScale: 0.5, Step: 1}, fresh: true},
		{n: 1, h: ops.AdamW{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1, Step: 1}},
		{n: 4099, h: ops.AdamW{LR: 3e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-6, Decay: 0.1, GradScale: 0.3, Step: 7}},
		{n: 4100, h: ops.AdamW{LR: 3e-3, Beta1: 0.9, Beta2: 0.999, Eps: 1e-6, GradScale: 0.3, Step: 7}, space: ops.Host},
		{n: 70001, h: ops.AdamW{LR: 2e-5, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.01, GradScale: 1, Step: 1000}},
	} {
		n, h := c.n, c.h
		k.start("%d elements, step %d", n, h.Step)
		k.space = c.space
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
