package optest

import (
	"fmt"
	"math"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// headLosses: cross-entropy by the definition, in chunks that do and do not divide the rows, scored and unscored.
func headLosses(k *kit) {
	for i, c := range []struct {
		n, c, v, chunk int
		d              tensor.DType
	}{{37, 24, 211, 10, tensor.F32}, {1, 8, 5, 1, tensor.BF16}, {130, 64, 1003, 64, tensor.BF16}, {48, 40, 333, 48,
		tensor.F16}, {70, 32, 4099, 33, tensor.BF16}, {6, 8, 20000, 6, tensor.BF16}} {
		for _, train := range []bool{true, false} {
			k.start("%d rows of %d, vocabulary %d, chunks of %d, head %s, train %v", c.n, c.c, c.v, c.chunk, c.d, train)
			headLoss(k, c.n, c.c, c.v, c.chunk, c.d, train, i%2 == 0, 0)
		}
	}
	for _, train := range []bool{true, false} {
		k.start("capped, train %v", train)
		headLoss(k, 70, 32, 333, 33, tensor.BF16, train, false, 3)
		k.start("capped, rows of whole accesses, train %v", train)
		headLoss(k, 40, 32, 4096, 11, tensor.BF16, train, false, 30)
	}
	badTargets(k)
	k.start("a NaN in the hidden state")
	x, w := k.normal("x", k.act, 9, 16), k.weight(tensor.BF16, 50, 16)
	x.v[3*16] = math.NaN()
	tg := k.given("targets", tensor.I32, []float64{1, 2, 3, 4, 5, 6, 7, 8, 9}, 9)
	nll, lg := k.out("nll", tensor.F32, 9), k.scratch("logits", tensor.F32, 4, 50)
	h := &ops.HeadLoss{W: w.weight(), Scale: 1}
	k.check(func() {
		h.X, h.Targets, h.NLL, h.Logits = x.Tensor, tg.Tensor, nll.Tensor, lg.Tensor
		k.b.HeadLoss(h)
	}, func(after func(*arg) []byte) string {
		for t, v := range decode(tensor.F32, after(nll)) {
			if (v != v) != (t == 3) {
				return fmt.Sprintf("row %d has the loss %v", t, v)
			}
		}
		return ""
	})
}

// badTargets: a target past the vocabulary has the loss NaN, and no other row has.
func badTargets(k *kit) {
	const n, c, v = 9, 16, 50
	for _, train := range []bool{false, true} {
		k.start("targets past the vocabulary, train %v", train)
		x, w, tg := k.normal("x", k.act, n, c), k.weight(tensor.BF16, v, c), k.given("targets", tensor.I32, []float64{1, v, 3,
			-1, 5, math.MaxInt32, 7, 8, v - 1}, n)
		nll, lg, dx := k.out("nll", tensor.F32, n), k.scratch("logits", tensor.F32, 4, v), &arg{}
		if train {
			dx = k.out("dx", k.act, n, c)
		}
		k.check(func() {
			k.b.HeadLoss(&ops.HeadLoss{X: x.Tensor, W: w.weight(), Targets: tg.Tensor, NLL: nll.Tensor, DX: dx.Tensor,
				Logits: lg.Tensor, Scale: 1})
		}, func(after func(*arg) []byte) string {
			for t, y := range decode(tensor.F32, after(nll)) {
				if (y != y) != (tg.v[t] >= v) {
					return fmt.Sprintf("the target %v has the loss %v", tg.v[t], y)
				}
			}
			return ""
		})
	}
}

func headLoss(k *kit, n, c, v, chunk int, d tensor.DType, train, frozen bool, cap float64) {
	const scale = 0.25
	x, w := k.normal("x", k.act, n, c), k.weight(d, v, c)
	targets := make([]float64, n)
	for t := range targets {
		targets[t] = float64(max(k.r.IntN(v+v/4+1)-v/4-1, -1))
	}
	for t := chunk; t < min(2*chunk, n); t++ { // a chunk without a scored row
		targets[t] = -1
	}
	tg, nll, lg := k.given("targets", tensor.I32, targets, n), k.out("nll", tensor.F32, n), k.scratch("logits", tensor.F32,
		chunk, v)
	best, dx, dw := &arg{}, &arg{}, &arg{}
	outs := []*arg{nll}
	if train {
		dx = k.out("dx", k.act, n, c)
		outs = append(outs, dx)
		if !frozen {
			dw = k.sum("dW", tensor.F32, v, c)
			outs = append(outs, dw)
		}
	} else {
		best = k.out("best", tensor.I32, n)
		outs = append(outs, best)
	}
	k.judge(k.near(1e-5), func() {
		k.b.HeadLoss(&ops.HeadLoss{X: x.Tensor, W: w.weight(), DW: dw.Tensor, Targets: tg.Tensor, NLL: nll.Tensor,
			Best: best.Tensor, DX: dx.Tensor, Scale: scale, Cap: float32(cap), Logits: lg.Tensor})
	}, func(r round) [][]float64 {
		wn, wx, ww, wb := make([]float64, n), make([]float64, n*c), append([]float64{}, dw.v...), make([]float64, n)
		for t := range n {
			logit, z, top := make([]float64, v), 0.0, 0
			for o := range v {
				for i := range c {
					logit[o] += x.v[t*c+i] * w.v[o*c+i]
				}
				if cap > 0 {
					logit[o] = cap * math.Tanh(logit[o]/cap)
				}
				if logit[o] > logit[top] {
					top = o
				}
			}
			wb[t] = float64(top)
			for o := range v {
				z += math.Exp(logit[o] - logit[top])
			}
			y := int(targets[t])
			if y < 0 {
				continue
			}
			wn[t] = math.Log(z) + logit[top] - logit[y]
			for o := 0; o < v && train; o++ {
				g := math.Exp(logit[o]-logit[top]) / z
				if o == y {
					g--
				}
				if cap > 0 {
					g *= 1 - logit[o]/cap*(logit[o]/cap)
				}
				g = r(scale * g)
				for i := range c {
					wx[t*c+i] += g * w.v[o*c+i]
					if len(ww) > 0 {
						ww[o*c+i] += g * x.v[t*c+i]
					}
				}
			}
		}
		for i := range wx {
			wx[i] = r(wx[i])
		}
		if !train {
			return [][]float64{wn, wb}
		}
		return [][]float64{wn, wx, ww}[:len(outs)]
	}, outs...)
}

// argmaxes: the lowest of equals, negative rows too.
func argmaxes(k *kit) {
	for _, c := range [][2]int{{1, 1}, {1, 32000}, {13, 7}, {40, 1031}} {
		n, v := c[0], c[1]
		k.start("%d rows of %d", n, v)
		x := k.gauss(n * v)
		for t := range n {
			if row := x[t*v : (t+1)*v]; t%2 == 1 && v > 2 {
				for i := range row {
					row[i] -= 100
				}
				row[v-1], row[v/2] = -1, -1
			}
		}
		lg, idx := k.given("logits", k.act, x, n, v), k.out("idx", tensor.I32, n)
		k.judge(0, func() { k.b.ArgMax(idx.Tensor, lg.Tensor) }, func(round) [][]float64 {
			want := make([]float64, n)
			for t := range n {
				best := 0
				for i, y := range lg.v[t*v : (t+1)*v] {
					if y > lg.v[t*v+best] {
						best = i
					}
				}
				want[t] = float64(best)
			}
			return [][]float64{want}
		}, idx)
	}
}

// sums: added to what is there, in float64.
func sums(k *kit) {
	for _, n := range []int{1, 33, 1000, 100003, 300000} {
		for _, squares := range []bool{false, true} {
			k.start("%d elements, squares %v", n, squares)
			x, out := k.normal("x", tensor.F32, n), k.add(inout, "out", tensor.F64, []float64{3.5}, []int{1})
			f := k.b.SumF32
			if squares {
				f = k.b.SumSquares
			}
			// as many roundings of float64 as there are elements, at worst, on a sum that may cancel
			k.judge(1e-11, func() { f(out.Tensor, x.Tensor) }, func(round) [][]float64 {
				s := 3.5
				for _, v := range x.v {
					if squares {
						v *= v
					}
					s += v
				}
				return [][]float64{{s}}
			}, out)
		}
	}
}
