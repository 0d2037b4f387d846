package optest

import (
	"encoding/binary"
	"fmt"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// layer is one linear layer of a case.
type layer struct {
	out   int
	rank  int // 0 without LoRA
	bias  bool
	train bool // W and the bias too
	res   bool // y starts as its own residual
	nf4   bool // W is stored as NF4
	fp8   bool // or as FP8
	fused bool // A is that of the layer before, as of matrices that lie in one tensor
}

// linears: products with every type of weight, a bias, a residual, LoRA with and without dropout, several layers of one
// input.
func linears(k *kit) {
	for _, c := range []struct {
		n, in  int
		d      tensor.DType
		drop   float32
		layers []layer
	}{
		{1, 130, tensor.F32, 0, []layer{{out: 77, rank: 3}}},
		{3, 64, tensor.BF16, 0, []layer{{out: 129, rank: 8, res: true}}},
		{5, 33, tensor.F16, 0, []layer{{out: 65, train: true}}},
		{200, 96, tensor.BF16, 0, []layer{{out: 96, rank: 8}, {out: 32, rank: 8}, {out: 32, rank: 8}}},
		{97, 201, tensor.F32, 0.25, []layer{{out: 150, rank: 5, train: true}, {out: 7}}},
		{90, 96, tensor.BF16, 0, []layer{{out: 96, rank: 8}, {out: 32}, {out: 40, rank: 3}, {out: 24, rank: 1}}},
		{90, 96, tensor.BF16, 0.25, []layer{{out: 40, rank: 3}, {out: 32}, {out: 96, rank: 12}}},
		{131, 88, tensor.BF16, 0.1, []layer{{out: 88, rank: 8, res: true}}},
		{70, 1096, tensor.BF16, 0, []layer{{out: 1032, rank: 16}, {out: 40, rank: 8}, {out: 48, rank: 16}}},
		{130, 72, tensor.BF16, 0, []layer{{out: 80, rank: 32}, {out: 24, rank: 24}, {out: 8, rank: 8}}},
		{160, 256, tensor.F16, 0, []layer{{out: 344}, {out: 344}}},
		{256, 512, tensor.BF16, 0, []layer{{out: 384, rank: 16, res: true, train: true}}},
		{128, 64, tensor.BF16, 0, []layer{{out: 64, rank: 16}, {out: 64, rank: 16, fused: true},
			{out: 64, rank: 16, fused: true}}},
		{200, 72, tensor.BF16, 0, []layer{{out: 40, rank: 8}, {out: 80, rank: 8, fused: true}, {out: 24, rank: 8}}},
		{64, 160, tensor.BF16, 0.5, []layer{{out: 72, rank: 64}, {out: 40, rank: 64}}},
		{1, 130, tensor.F32, 0, []layer{{out: 77, bias: true}}},
		{4, 64, tensor.BF16, 0, []layer{{out: 129, rank: 8, bias: true, res: true}}},
		{200, 96, tensor.BF16, 0, []layer{{out: 96, rank: 8, bias: true}, {out: 32, rank: 8, bias: true}, {out: 31}}},
		{97, 201, tensor.F32, 0.25, []layer{{out: 150, rank: 5, bias: true, train: true}, {out: 7, bias: true}}},
		{700, 64, tensor.F16, 0, []layer{{out: 520, bias: true, train: true, res: true}}},
		{1, 136, tensor.BF16, 0, []layer{{out: 77, rank: 8, res: true}, {out: 1}, {out: 40, bias: true}, {out: 33},
			{out: 2}}},
		{1, 1048, tensor.F16, 0, []layer{{out: 9, bias: true, res: true, train: true}}},
		{1, 2200, tensor.BF16, 0, []layer{{out: 18, nf4: true, res: true}, {out: 21}, {out: 5, fp8: true, bias: true}}},
		{1, 130, tensor.BF16, 0, []layer{{out: 77, rank: 3, nf4: true}, {out: 40, nf4: true, bias: true}}},
		{90, 96, tensor.F16, 0, []layer{{out: 96, rank: 8, nf4: true}, {out: 33, nf4: true}, {out: 40}}},
		{33, 320, tensor.F32, 0, []layer{{out: 130, nf4: true, bias: true, res: true}}},
		{1, 130, tensor.F32, 0, []layer{{out: 77, rank: 3, fp8: true}, {out: 40, fp8: true, bias: true}}},
		{90, 96, tensor.F32, 0, []layer{{out: 96, rank: 8, fp8: true}, {out: 33, fp8: true}, {out: 40}}},
		{33, 320, tensor.F32, 0.25, []layer{{out: 130, rank: 8, fp8: true, bias: true, res: true}}},
	} {
		k.start("%d rows of %d, %s, dropout %v, %+v", c.n, c.in, c.d, c.drop, c.layers)
		linear(k, c.n, c.in, c.d, c.drop, c.layers)
		k.start("scored only: %d rows of %d, %s, %+v", c.n, c.in, c.d, c.layers)
		scored(k, c.n, c.in, c.d, c.drop, c.layers)
	}
}

// lin is a layer's tensors.
type lin struct {
	layer
	w, bias, a, b, y, res, dy, dw, dbias, da, db, xa, dxa *arg
	l                                                     *ops.Linear
}

func newLin(k *kit, i, n, in int, d tensor.DType, drop float32, y layer) *lin {
	name := func(s string) string { return fmt.Sprintf("%s%d", s, i) }
	q := &lin{layer: y, l: &ops.Linear{}}
	switch {
	case y.nf4:
		q.w = k.nf4(d, y.out, in)
	case y.fp8:
		q.w = k.fp8(y.out, in)
	default:
		q.w = k.weight(d, y.out, in)
	}
	if y.res {
		q.y = k.sum(name("y"), k.act, n, y.out)
	} else {
		q.y = k.out(name("y"), k.act, n, y.out)
		q.res = k.normal(name("res"), k.act, n, y.out)
	}
	if y.bias {
		q.bias = k.normal(name("bias"), k.act, y.out)
	}
	if y.rank > 0 {
		q.a, q.b, q.xa = k.normal(name("A"), k.act, y.rank, in), k.normal(name("B"), k.act, y.out, y.rank), k.out(name("xa"),
			k.act, n, y.rank)
		q.l.LoRA = &ops.LoRA{Scale: 0.5, Drop: ops.Dropout{P: drop, Stream: uint64(7 + i)}}
	}
	return q
}

// place hands the layer the tensors' places.
func (q *lin) place() {
	q.l.W = q.w.weight()
	if q.dw != nil {
		q.l.DW = q.dw.Tensor
	}
	if q.bias != nil {
		q.l.Bias = q.bias.Tensor
	}
	if q.dbias != nil {
		q.l.DBias = q.dbias.Tensor
	}
	if l := q.l.LoRA; l != nil {
		l.A, l.B = q.a.Tensor, q.b.Tensor
		if q.da != nil {
			l.DA, l.DB = q.da.Tensor, q.db.Tensor
		}
	}
}

func (q *lin) proj() ops.Proj {
	q.place()
	p := ops.Proj{L: q.l, Y: q.y.Tensor, Res: q.y.Tensor}
	if !q.layer.res {
		p.Res = q.res.Tensor
	}
	if q.xa != nil {
		p.XA = q.xa.Tensor
	}
	return p
}

// forward is y and xa by the formula; keys nil drops nothing.
func (q *lin) forward(x []float64, keys []uint64, n, in int, r round) (y, xa []float64) {
	y, xa = make([]float64, n*q.out), make([]float64, n*q.rank)
	dropped := q.dropped(x, keys, in, r)
	for t := range n {
		for j := range q.rank {
			xa[t*q.rank+j] = r(dot(dropped[t*in:(t+1)*in], q.a.v[j*in:(j+1)*in]))
		}
		for o := range q.out {
			s := dot(x[t*in:(t+1)*in], q.w.v[o*in:(o+1)*in])
			if q.rank > 0 {
				s += 0.5 * dot(xa[t*q.rank:(t+1)*q.rank], q.b.v[o*q.rank:(o+1)*q.rank])
			}
			if q.bias != nil {
				s += q.bias.v[o]
			}
			if q.layer.res {
				s += q.y.v[t*q.out+o]
			} else {
				s += q.res.v[t*q.out+o]
			}
			y[t*q.out+o] = r(s)
		}
	}
	return y, xa
}

// dropped is drop(x).
func (q *lin) dropped(x []float64, keys []uint64, in int, r round) []float64 {
	if keys == nil || q.rank == 0 || q.l.LoRA.Drop.P == 0 {
		return x
	}
	d, z := q.l.LoRA.Drop, make([]float64, len(x))
	for i, v := range x {
		if ops.DropKeep(keys[i/in], d.Stream, i%in, d.P) {
			z[i] = r(v / (1 - float64(d.P)))
		}
	}
	return z
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, v := range a {
		s += v * b[i]
	}
	return s
}

func (k *kit) keys(n int) *arg {
	a := k.given("keys", tensor.U64, nil, n)
	for range n {
		a.raw = binary.LittleEndian.AppendUint64(a.raw, k.r.Uint64())
	}
	return a
}

// linear runs the layers forward and back.
func linear(k *kit, n, in int, d tensor.DType, drop float32, layers []layer) {
	x, dx, keys := k.normal("x", k.act, n, in), k.out("dx", k.act, n, in), &arg{}
	var drops []uint64
	if drop > 0 {
		keys = k.keys(n)
		for i := range n {
			drops = append(drops, binary.LittleEndian.Uint64(keys.raw[8*i:]))
		}
	}
	var qs []*lin
	outs := []*arg{dx}
	for i, y := range layers {
		q := newLin(k, i, n, in, d, drop, y)
		q.dy = k.normal(fmt.Sprintf("dy%d", i), k.act, n, y.out)
		outs = append(outs, q.y)
		if y.rank > 0 {
			q.db = k.sum(fmt.Sprintf("dB%d", i), tensor.F32, y.out, y.rank)
			q.dxa = k.scratch(fmt.Sprintf("dxa%d", i), k.act, n, y.rank)
			outs = append(outs, q.xa, q.db)
			if y.fused {
				q.a, q.da = qs[i-1].a, qs[i-1].da
			} else {
				q.da = k.sum(fmt.Sprintf("dA%d", i), tensor.F32, y.rank, in)
				outs = append(outs, q.da)
			}
		}
		if y.train {
			q.dw = k.sum(fmt.Sprintf("dW%d", i), tensor.F32, y.out, in)
			outs = append(outs, q.dw)
			if y.bias {
				q.dbias = k.sum(fmt.Sprintf("dbias%d", i), tensor.F32, y.out)
				outs = append(outs, q.dbias)
			}
		}
		qs = append(qs, q)
	}
	k.judge(k.near(3e-6), func() { // float32 rounding of sums of a few hundred terms
		var fwd []ops.Proj
		var back []ops.ProjGrad
		for _, q := range qs {
			fwd = append(fwd, q.proj())
			g := ops.ProjGrad{L: q.l, DY: q.dy.Tensor}
			if q.rank > 0 {
				g.XA, g.DXA = q.xa.Tensor, q.dxa.Tensor
			}
			back = append(back, g)
		}
		k.b.LinearForward(x.Tensor, keys.Tensor, fwd)
		k.b.LinearBackward(dx.Tensor, x.Tensor, keys.Tensor, back)
	}, func(r round) [][]float64 {
		wx := make([]float64, n*in)
		want := [][]float64{wx}
		var sum []float64 // dA of layers with one A
		for _, q := range qs {
			y, xa := q.forward(x.v, drops, n, in, r)
			want = append(want, y)
			da, db, dw, dbias := q.backward(wx, x.v, xa, drops, n, in, r)
			if q.rank > 0 {
				want = append(want, xa, db)
			}
			if q.fused {
				axpy(sum, 1, da)
				axpy(sum, -1, q.da.v) // what it began with
			} else if q.rank > 0 {
				sum = da
				want = append(want, sum)
			}
			if q.train {
				want = append(want, dw)
			}
			if q.dbias != nil {
				want = append(want, dbias)
			}
		}
		return want
	}, outs...)
}

// backward adds to dx, rounding it once, and gives the parameters' gradients by the formula.
func (q *lin) backward(dx, x, xa []float64, keys []uint64, n, in int, r round) (da, db, dw, dbias []float64) {
	if q.rank > 0 {
		da, db = append(da, q.da.v...), append(db, q.db.v...)
	}
	if q.train {
		dw = append(dw, q.dw.v...)
	}
	if q.dbias != nil {
		dbias = append(dbias, q.dbias.v...)
	}
	dropped := q.dropped(x, keys, in, r)
	for t := range n {
		xt, dt, acc := x[t*in:(t+1)*in], dropped[t*in:(t+1)*in], dx[t*in:(t+1)*in]
		dxa := make([]float64, q.rank)
		for o := range q.out {
			g := q.dy.v[t*q.out+o]
			axpy(acc, g, q.w.v[o*in:(o+1)*in])
			if q.train {
				axpy(dw[o*in:(o+1)*in], g, xt)
			}
			if dbias != nil {
				dbias[o] += g
			}
			if q.rank > 0 {
				axpy(dxa, g, q.b.v[o*q.rank:(o+1)*q.rank])
				axpy(db[o*q.rank:(o+1)*q.rank], 0.5*g, xa[t*q.rank:(t+1)*q.rank])
			}
		}
		for j := range dxa {
			dxa[j] = r(dxa[j])
			axpy(da[j*in:(j+1)*in], 0.5*dxa[j], dt)
			for c, a := range q.a.v[j*in : (j+1)*in] {
				acc[c] += 0.5 * dxa[j] * a * q.factor(keys, t, c)
			}
		}
		for c := range acc {
			acc[c] = r(acc[c])
		}
	}
	return da, db, dw, dbias
}

// factor is what dropout multiplies element (t,c) by.
func (q *lin) factor(keys []uint64, t, c int) float64 {
	d := q.l.LoRA.Drop
	switch {
	case keys == nil || d.P == 0:
		return 1
	case ops.DropKeep(keys[t], d.Stream, c, d.P):
		return 1 / (1 - float64(d.P))
	}
	return 0
}

func axpy(y []float64, a float64, x []float64) {
	for i, v := range x {
		y[i] += a * v
	}
}

// scored runs the layers as for scoring: nothing dropped, factors that are not trained, and back to dx alone.
func scored(k *kit, n, in int, d tensor.DType, drop float32, layers []layer) {
	x := k.normal("x", k.act, n, in)
	var qs []*lin
	var outs []*arg
	for i, y := range layers {
		q := newLin(k, i, n, in, d, drop, y)
		if y.fused {
			q.a = qs[i-1].a
		}
		qs, outs = append(qs, q), append(outs, q.y)
	}
	k.judge(k.near(3e-6), func() {
		var p []ops.Proj
		for _, q := range qs {
			p = append(p, q.proj())
		}
		k.b.LinearForward(x.Tensor, ops.Tensor{}, p)
	}, func(r round) [][]float64 {
		var want [][]float64
		for _, q := range qs {
			y, _ := q.forward(x.v, nil, n, in, r)
			want = append(want, y)
		}
		return want
	}, outs...)
}
