package optest

import (
	"fmt"
	"math"

	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// Plain makes a bfloat16 backend of a float32 one that works in memory which the CPU can address: every operation
// takes its activations from bfloat16, is done in float32, and is rounded once. A linear layer is done as a plain
// program does it, in operations of their own: the product, LoRA's two products and the sums, each rounded. A whole
// step on it has the error that bfloat16 has when nothing is done cleverly, by which a GPU's step is measured; and
// it runs the step's bfloat16 path where there is no GPU.
func Plain(inner ops.Backend) ops.Backend { return &plain{inner, map[int64][]ops.Tensor{}} }

type plain struct {
	ops.Backend
	spare map[int64][]ops.Tensor // temporaries to be used again, by their bytes
}

func (b *plain) Name() string { return "plain" }

func (b *plain) Act() tensor.DType { return tensor.BF16 }

func (b *plain) Weight(s tensor.Stored) (ops.Weight, error) {
	if !s.Format.Dense() { // as its values
		wide := tensor.Dense(tensor.F32).Make(s.Shape, func(n int64) []byte { return make([]byte, n) })
		quant.Encode(&wide, func(dst []float32, lo int) { quant.Decode(dst, s, lo) })
		s = wide
	}
	mapped, err := b.Backend.Weight(s)
	if err != nil || s.Format == tensor.Dense(tensor.BF16) {
		return mapped, err
	}
	t := mapped.Dense()
	half, err := b.reserve(tensor.BF16, s.Shape)
	if t.DType != tensor.F32 && err == nil {
		w := b.wide(t)
		defer b.drop(w)
		t = w
	}
	if err == nil {
		b.Convert(half, t)
	}
	return ops.WeightOf(half), err
}

func (b *plain) reserve(d tensor.DType, shape tensor.Shape) (ops.Tensor, error) {
	t := ops.Tensor{DType: d, Shape: shape}
	p, err := b.Reserve(ops.Device, t.Bytes(), "plain")
	t.P = p
	return t, err
}

// temp is a float32 tensor of t's shape; None for None.
func (b *plain) temp(t ops.Tensor) ops.Tensor {
	if t.None() {
		return t
	}
	n := 4 * int64(t.Elems())
	if k := len(b.spare[n]); k > 0 {
		w := b.spare[n][k-1]
		b.spare[n] = b.spare[n][:k-1]
		return w.Reshape(t.Shape...)
	}
	w, err := b.reserve(tensor.F32, t.Shape)
	if err != nil {
		panic(fmt.Sprint("optest: ", err))
	}
	return w
}

// wide is a float32 copy of t.
func (b *plain) wide(t ops.Tensor) ops.Tensor {
	w := b.temp(t)
	if !t.None() {
		b.Convert(w, t)
	}
	return w
}

// narrow rounds a temporary into t and drops it.
func (b *plain) narrow(t, w ops.Tensor) {
	if !t.None() {
		b.Convert(t, w)
		b.drop(w)
	}
}

func (b *plain) drop(ws ...ops.Tensor) {
	for _, w := range ws {
		if !w.None() {
			b.spare[w.Bytes()] = append(b.spare[w.Bytes()], w)
		}
	}
}

// factors is a layer without bias whose LoRA factors are float32 copies.
func (b *plain) factors(l *ops.Linear) *ops.Linear {
	if l.LoRA == nil {
		return l
	}
	c, r := *l, *l.LoRA
	r.A, r.B, c.LoRA, c.Bias = b.wide(r.A), b.wide(r.B), &r, ops.Tensor{}
	return &c
}

func (b *plain) dropFactors(l *ops.Linear) {
	if l.LoRA != nil {
		b.drop(l.LoRA.A, l.LoRA.B)
	}
}

// rounded rounds a temporary in place, as stored does: a bfloat16 is a float32 without its last 16 bits.
func rounded(w ops.Tensor) []float32 {
	v := w.F32()
	for i, x := range v {
		if u := math.Float32bits(x); x == x {
			v[i] = math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff)
		}
	}
	return v
}

// sum is a += b, rounded.
func sum(a, b ops.Tensor) {
	v, w := a.F32(), rounded(b)
	for i := range v {
		v[i] += w[i]
	}
	rounded(a)
}

func (b *plain) LinearForward(x, keys ops.Tensor, p []ops.Proj) {
	xw := b.wide(x)
	for _, q := range p {
		y, bias := b.temp(q.Y), b.wide(q.L.Bias)
		b.Backend.LinearForward(xw, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: q.L.W, Bias: bias}, Y: y}})
		rounded(y)
		b.drop(bias)
		if q.L.LoRA != nil {
			l, xa, part := b.factors(q.L), b.temp(q.XA), b.temp(q.Y)
			b.Backend.LinearForward(xw, keys, []ops.Proj{{L: l, Y: part, XA: xa}})
			rounded(xa)
			b.Backend.LinearForward(xa, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: ops.WeightOf(l.LoRA.B)}, Y: part}})
			low := rounded(part)
			for i := range low {
				low[i] *= l.LoRA.Scale
			}
			sum(y, part)
			b.narrow(q.XA, xa)
			b.drop(part)
			b.dropFactors(l)
		}
		if !q.Res.None() {
			res := b.wide(q.Res)
			sum(y, res)
			b.drop(res)
		}
		b.narrow(q.Y, y)
	}
	b.drop(xw)
}

func (b *plain) LinearBackward(dx, x, keys ops.Tensor, p []ops.ProjGrad) {
	xw, all := b.wide(x), b.temp(dx)
	for i, q := range p {
		w := ops.ProjGrad{L: b.factors(q.L), DY: b.wide(q.DY), XA: b.wide(q.XA), DXA: b.temp(q.DXA)}
		one, base := b.temp(dx), b.temp(dx) // with LoRA's part, and without
		b.Backend.LinearBackward(one, xw, keys, []ops.ProjGrad{w})
		if q.L.LoRA != nil && !dx.None() {
			b.Backend.LinearBackward(base, ops.Tensor{}, ops.Tensor{}, []ops.ProjGrad{{L: &ops.Linear{W: q.L.W}, DY: w.DY}})
			both := one.F32()
			for j, v := range base.F32() {
				both[j] -= v
			}
			rounded(base)
			sum(one, base)
		}
		switch {
		case dx.None():
		case i == 0:
			copy(all.F32(), rounded(one))
		default:
			sum(all, one)
		}
		b.narrow(q.DXA, w.DXA)
		b.drop(w.DY, w.XA, one, base)
		b.dropFactors(w.L)
	}
	b.narrow(dx, all)
	b.drop(xw)
}

func (b *plain) EmbedForward(y ops.Tensor, table ops.Weight, ids ops.Tensor) {
	w := b.temp(y)
	b.Backend.EmbedForward(w, table, ids)
	b.narrow(y, w)
}

func (b *plain) EmbedBackward(dTable, dy, ids ops.Tensor) {
	w := b.wide(dy)
	b.Backend.EmbedBackward(dTable, w, ids)
	b.drop(w)
}

func (b *plain) RMSNormForward(y, rstd, x, w ops.Tensor, plus, eps float32) {
	yw, xw := b.temp(y), b.wide(x)
	b.Backend.RMSNormForward(yw, rstd, xw, w, plus, eps)
	b.narrow(y, yw)
	b.drop(xw)
}

func (b *plain) RMSNormBackward(dx, dw, dy, x, rstd, w ops.Tensor, plus float32) {
	dxw, dyw, xw := b.wide(dx), b.wide(dy), b.wide(x)
	b.Backend.RMSNormBackward(dxw, dw, dyw, xw, rstd, w, plus)
	b.narrow(dx, dxw)
	b.drop(dyw, xw)
}

func (b *plain) LayerNormForward(y, stat, x, w, bias ops.Tensor, eps float32) {
	yw, xw := b.temp(y), b.wide(x)
	b.Backend.LayerNormForward(yw, stat, xw, w, bias, eps)
	b.narrow(y, yw)
	b.drop(xw)
}

func (b *plain) LayerNormBackward(dx, dw, dbias, dy, x, stat, w ops.Tensor) {
	dxw, dyw, xw := b.wide(dx), b.wide(dy), b.wide(x)
	b.Backend.LayerNormBackward(dxw, dw, dbias, dyw, xw, stat, w)
	b.narrow(dx, dxw)
	b.drop(dyw, xw)
}

func (b *plain) GELUForward(h, g, u ops.Tensor, tanh bool) {
	hw, gw, uw := b.temp(h), b.wide(g), b.wide(u)
	b.Backend.GELUForward(hw, gw, uw, tanh)
	b.narrow(h, hw)
	b.drop(gw, uw)
}

func (b *plain) GELUBackward(dg, du, dh, g, u ops.Tensor, tanh bool) {
	dgw, duw, dhw, gw, uw := b.temp(dg), b.temp(du), b.wide(dh), b.wide(g), b.wide(u)
	b.Backend.GELUBackward(dgw, duw, dhw, gw, uw, tanh)
	b.narrow(dg, dgw)
	b.narrow(du, duw)
	b.drop(dhw, gw, uw)
}

func (b *plain) Rope(dst, src, cs ops.Tensor, inverse bool) {
	w := b.wide(src)
	b.Backend.Rope(w, w, cs, inverse)
	b.narrow(dst, w)
}

func (b *plain) SwiGLUForward(h, g, u ops.Tensor) {
	hw, gw, uw := b.temp(h), b.wide(g), b.wide(u)
	b.Backend.SwiGLUForward(hw, gw, uw)
	b.narrow(h, hw)
	b.drop(gw, uw)
}

func (b *plain) SwiGLUBackward(dg, du, dh, g, u ops.Tensor) {
	dgw, duw, dhw, gw, uw := b.temp(dg), b.temp(du), b.wide(dh), b.wide(g), b.wide(u)
	b.Backend.SwiGLUBackward(dgw, duw, dhw, gw, uw)
	b.narrow(dg, dgw)
	b.narrow(du, duw)
	b.drop(dhw, gw, uw)
}

func (b *plain) Scale(y, res, x ops.Tensor, f float32) {
	yw, rw, xw := b.temp(y), b.wide(res), b.wide(x)
	b.Backend.Scale(yw, rw, xw, f)
	b.narrow(y, yw)
	b.drop(rw, xw)
}

func (b *plain) AttnForward(a *ops.Attn) {
	w := *a
	w.Q, w.K, w.V, w.O = b.wide(a.Q), b.wide(a.K), b.wide(a.V), b.temp(a.O)
	b.Backend.AttnForward(&w)
	b.narrow(a.O, w.O)
	b.drop(w.Q, w.K, w.V)
}

func (b *plain) AttnBackward(a *ops.Attn) {
	w := *a
	w.Q, w.K, w.V, w.O, w.DO, w.DQ = b.wide(a.Q), b.wide(a.K), b.wide(a.V), b.wide(a.O), b.wide(a.DO), b.temp(a.DQ)
	if w.Turn = (ops.Tensor{}); a.All {
		w.DK, w.DV = b.temp(a.DK), b.temp(a.DV)
	}
	b.Backend.AttnBackward(&w)
	b.narrow(a.DQ, w.DQ)
	if a.All {
		b.narrow(a.DK, w.DK)
		b.narrow(a.DV, w.DV)
	}
	b.drop(w.Q, w.K, w.V, w.O, w.DO)
	if !a.Turn.None() {
		b.Rope(a.DQ, a.DQ, a.Turn, true)
	}
	if !a.Turn.None() && a.All {
		b.Rope(a.DK, a.DK, a.Turn, true)
	}
}

// HeadLoss rounds the gradient of the logits, which a plain program stores.
func (b *plain) HeadLoss(h *ops.HeadLoss) {
	w := *h
	w.X, w.DX, w.DW = b.wide(h.X), ops.Tensor{}, ops.Tensor{}
	b.Backend.HeadLoss(&w)
	if !h.DX.None() {
		n, v := h.X.Dim(0), h.W.Dim(0)
		g, dx := b.temp(ops.Tensor{Shape: tensor.Shape{n, v}}), b.temp(h.DX)
		b.Backend.LinearForward(w.X, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: h.W}, Y: g}})
		for t, y := range h.Targets.I32() {
			lossGrad(g.F32()[t*v:(t+1)*v], int(y), float64(h.Scale), float64(h.Cap))
		}
		b.Backend.LinearBackward(dx, w.X, ops.Tensor{}, []ops.ProjGrad{{L: &ops.Linear{W: h.W, DW: h.DW}, DY: g}})
		b.narrow(h.DX, dx)
		b.drop(g)
	}
	b.drop(w.X)
}

// lossGrad turns a row of logits into scale·(softmax - onehot), rounded; zeros where y is -1.
func lossGrad(row []float32, y int, scale, cap float64) {
	for i, x := range row {
		if cap > 0 {
			row[i] = float32(cap * math.Tanh(float64(x)/cap))
		}
	}
	top, z := math.Inf(-1), 0.0
	for _, x := range row {
		top = max(top, float64(x))
	}
	for _, x := range row {
		z += math.Exp(float64(x) - top)
	}
	for i, x := range row {
		g := math.Exp(float64(x)-top) / z
		if i == y {
			g--
		}
		if y < 0 {
			g = 0
		}
		if cap > 0 {
			g *= 1 - float64(x)/cap*(float64(x)/cap)
		}
		row[i] = float32(stored(tensor.BF16, scale*g))
	}
}

func (b *plain) ArgMax(idx, logits ops.Tensor) {
	w := b.wide(logits)
	b.Backend.ArgMax(idx, w)
	b.drop(w)
}

func (b *plain) AdamW(w, m, v, grad, cp ops.Tensor, h ops.AdamW) {
	b.Backend.AdamW(w, m, v, grad, ops.Tensor{}, h)
	b.Convert(cp, w)
}
