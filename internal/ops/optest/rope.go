package optest

import (
	"math"

	"longlora/internal/tensor"
)

// ropes: the table, and turning there and back, in place and from float32 to the activation type.
func ropes(k *kit) {
	for _, c := range [][4]int{{1, 1, 2, 2}, {37, 3, 16, 16}, {130, 5, 64, 64}, {65, 8, 128, 128}, {20, 2, 80, 80},
		{9, 5, 20, 20},
		{33, 3, 96, 24}, {7, 4, 16, 2}, {40, 2, 128, 96}} {
		n, heads, d := c[0], c[1], c[3] // of d channels that are turned
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
		d, turn := c[2], c[3]
		for _, from := range []tensor.DType{k.act, tensor.F32} {
			for _, inverse := range []bool{false, true} {
				k.start("turn, %d tokens, %d heads of %d, %d turned, from %s, inverse %v", n, heads, d, turn, from, inverse)
				cs, src, dst := k.normal("cs", tensor.F32, n, turn), k.normal("src", from, n, heads, d), k.out("dst", k.act, n,
					heads, d)
				k.judge(1e-6, func() { k.b.Rope(dst.Tensor, src.Tensor, cs.Tensor, inverse) }, turned(src, cs, inverse), dst)
				k.start("turn in place, %d tokens, %d heads of %d, %d turned, %s, inverse %v", n, heads, d, turn, from, inverse)
				cs, src = k.normal("cs", tensor.F32, n, turn), k.sum("x", from, n, heads, d)
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
	n, heads, d, turn := src.Dim(0), src.Dim(1), src.Dim(2), cs.Dim(1)
	return func(r round) [][]float64 {
		want := make([]float64, n*heads*d)
		for th := range n * heads {
			for i := turn; i < d; i++ {
				want[th*d+i] = r(src.v[th*d+i])
			}
			for i := range turn / 2 {
				a, b := th*d+i, th*d+i+turn/2
				c, s := cs.v[th/heads*turn+i], cs.v[th/heads*turn+turn/2+i]
				if inverse {
					s = -s
				}
				want[a], want[b] = r(src.v[a]*c-src.v[b]*s), r(src.v[b]*c+src.v[a]*s)
			}
		}
		return [][]float64{want}
	}
}
