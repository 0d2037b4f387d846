package optest

import (
	"bytes"
	"fmt"
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
		k.start("forward, %d tokens of %d, width %d, in host memory", n, v, w)
		k.space = ops.Host
		id, table, y := ids(), k.normal("table", k.act, v, w), k.out("y", k.act, n, w)
		k.judge(0, func() { k.b.EmbedForward(y.Tensor, table.weight(), id.Tensor) }, func(round) [][]float64 {
			var want []float64
			for _, i := range id.v {
				want = append(want, table.v[int(i)*w:(int(i)+1)*w]...)
			}
			return [][]float64{want}
		}, y)
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
		for where, space := range []ops.Space{ops.Device, ops.Host} {
			k.start("backward, %d tokens of %d, width %d, in %s memory", n, v, w, []string{"device", "host"}[where])
			k.space = space
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
	badIDs(k)
	for _, c := range [][4]int{{1, 0, 1, 24}, {64, 0, 64, 16}, {300, 37, 200, 33}, {1000, 128, 700, 512},
		{130, 64, 66, 5000}} {
		rowSets(k, c[0], c[1], c[2], c[3])
	}
}

// rowSets: rows [first, first+n) of a table of v that are of a set come to the device, and from there to a table in
// host memory; the others stay what they were.
func rowSets(k *kit, v, first, n, w int) {
	k.start("rows %d to %d of %d that are of a set, width %d, from and to host memory", first, first+n, v, w)
	set := k.out("set", tensor.U64, (v+63)/64)
	set.role, set.raw = in, make([]byte, set.Bytes())
	for i := range set.raw {
		set.raw[i] = byte(k.r.Uint32())
	}
	has := func(r int) bool { return set.raw[(first+r)/8]>>((first+r)%8)&1 == 1 }
	src, dst := k.normal("src", tensor.F32, n, w), k.sum("dst", tensor.F32, n, w)
	between := k.out("between", tensor.F32, n, w)
	far, back := k.host(tensor.F32, n, w), k.host(tensor.F32, n, w)
	if far.None() || back.None() {
		return
	}
	defer k.b.Free(ops.Host, far.P, far.Bytes())
	defer k.b.Free(ops.Host, back.P, back.Bytes())
	k.check(func() {
		rows := ops.RowSet{Bits: set.Tensor, First: first, N: n}
		k.b.Wait(k.b.Send(far, src.Tensor, ops.Whole(far)))
		k.b.Wait(k.b.Send(back, dst.Tensor, ops.Whole(back)))
		k.b.CopySet(between.Tensor, far, rows)
		k.b.CopySet(back, between.Tensor, rows)
		k.b.Wait(k.b.Fetch(dst.Tensor, back, ops.Whole(back)))
	}, func(after func(*arg) []byte) string {
		came, got := after(between), decode(tensor.F32, after(dst))
		for i := range got {
			if r := i / w; has(r) && got[i] != src.v[i] || !has(r) && got[i] != dst.v[i] {
				return fmt.Sprintf("row %d, of the set %v, is wrong", first+r, has(r))
			} else if !has(r) && !bytes.Equal(came[4*i:4*i+4], []byte{0xff, 0xff, 0xff, 0xff}) {
				return fmt.Sprintf("row %d, which is not of the set, came", first+r)
			}
		}
		return ""
	})
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
