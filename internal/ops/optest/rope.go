package optest

import (
	"math"

	"longlora/internal/tensor"
)

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
