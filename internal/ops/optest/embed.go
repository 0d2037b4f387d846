package optest

import (
	"fmt"
	"math"

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
			k.judge(0, func() { k.b.EmbedForward(y.Tensor, table.weight(), id.Tensor) }, func(r round) [][]float64 {
				var want []float64
				for _, i := range id.v {
					for _, x := range table.v[int(i)*w : (int(i)+1)*w] {
						want = append(want, stored(k.act, x))
					}
				}
				return [][]float64{want}
			}, y)
		}
		if k.act == tensor.F32 {
			k.start("forward, %d tokens of %d, width %d, table NF4", n, v, w)
			id, table, y := ids(), k.nf4(tensor.BF16, v, w), k.out("y", k.act, n, w)
			k.judge(0, func() { k.b.EmbedForward(y.Tensor, table.weight(), id.Tensor) }, func(r round) [][]float64 {
				var want []float64
				for _, i := range id.v {
					want = append(want, table.v[int(i)*w:(int(i)+1)*w]...)
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
	badIDs(k)
}

// badIDs: what is no row of the table is NaN, adds nothing, and is not looked for beside the table.
func badIDs(k *kit) {
	const n, v, w = 70, 64, 24 // a vocabulary of a power of two: the first id past it has one bit more
	ids := make([]float64, n)
	for i := range ids {
		ids[i] = float64(k.r.IntN(v))
	}
	for i, bad := range []float64{v, v + 1, math.MaxInt32, math.MinInt32, -1} {
		ids[3+13*i] = bad
	}
	outside := func(t int) bool { return ids[t] < 0 || ids[t] >= v }
	k.start("forward, ids that are no rows")
	id, table, y := k.given("ids", tensor.I32, ids, n), k.weight(tensor.BF16, v, w), k.out("y", k.act, n, w)
	k.check(func() { k.b.EmbedForward(y.Tensor, table.weight(), id.Tensor) }, func(after func(*arg) []byte) string {
		for i, x := range decode(k.act, after(y)) {
			if t := i / w; (x != x) != outside(t) {
				return fmt.Sprintf("the row of id %v has %v", ids[t], x)
			}
		}
		return ""
	})
	k.start("backward, ids that are no rows")
	id, dy, dt := k.given("ids", tensor.I32, ids, n), k.normal("dy", k.act, n, w), k.sum("dTable", tensor.F32, v, w)
	k.judge(1e-6, func() { k.b.EmbedBackward(dt.Tensor, dy.Tensor, id.Tensor) }, func(round) [][]float64 {
		want := append([]float64{}, dt.v...)
		for t, i := range id.v {
			for c, g := range dy.v[t*w : (t+1)*w] {
				if !outside(t) {
					want[int(i)*w+c] += g
				}
			}
		}
		return [][]float64{want}
	}, dt)
}
