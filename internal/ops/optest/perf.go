package optest

import (
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Sizes are those of a layer whose operations are timed; letters as in package ops.
type Sizes struct{ T, C, F, H, Hkv, D, V, R, G int }

// Layer7B is a layer of LLaMA-2 7B over 8192 tokens, in groups of a quarter; LayerTiny takes a CPU milliseconds.
var (
	Layer7B   = Sizes{T: 8192, C: 4096, F: 11008, H: 32, Hkv: 32, D: 128, V: 32000, R: 8, G: 2048}
	LayerTiny = Sizes{T: 512, C: 256, F: 688, H: 8, Hkv: 8, D: 32, V: 4000, R: 8, G: 128}
)

// Load is one call of an operation, and what it amounts to: floating-point operations where products are what it is
// made of, otherwise bytes, each tensor that is read or written counted once.
type Load struct {
	Op, Name string
	Bytes    float64
	Flops    float64
	Call     func()
}

// Peak are the rates that loads are held against, as this backend has them: bytes a second of a copy, read and written,
// and floating-point operations a second of a product of two matrices.
type Peak struct{ Bytes, Flops float64 }

// loads are the calls to be timed of each operation of suites, in the same order.
var loads = []struct {
	op   string
	make func(l *loader) []Load
}{
	{"transfer", (*loader).transfers}, {"convert", (*loader).converts}, {"embed", (*loader).embeds},
	{"rmsnorm", (*loader).rmsnorms}, {"layernorm", (*loader).layernorms}, {"rope", (*loader).ropes},
	{"swiglu", (*loader).swiglus}, {"gelu", (*loader).gelus},
	{"scale", (*loader).scales},
	{"linear", (*loader).linears}, {"attention", (*loader).attentions}, {"headloss", (*loader).headLosses},
	{"argmax", (*loader).argmaxes}, {"sums", (*loader).sums}, {"adamw", (*loader).adamws},
}

// Perf calls f with every load of the operations whose name contains the filter; an empty one is all. A load may be
// called until f returns.
func Perf(b ops.Backend, s Sizes, filter string, f func(Load)) error {
	count := &loader{b: b, Sizes: s, dev: ops.CountingArena("perf", ops.Device), host: ops.CountingArena("perf", ops.Host)}
	count.each("", func(Load) {})
	l := &loader{b: b, Sizes: s, r: rand.New(rand.NewPCG(1, 2))}
	for _, a := range []struct {
		arena **ops.Arena
		space ops.Space
		bytes int64
	}{{&l.dev, ops.Device, count.dev.Peak()}, {&l.host, ops.Host, count.host.Peak()}} {
		arena, err := ops.NewArena(b, "perf", a.space, a.bytes)
		if err != nil {
			return err
		}
		defer arena.Free(b)
		*a.arena = arena
	}
	l.each(filter, f)
	return b.Sync()
}

// MeasurePeak times a copy and a product.
func MeasurePeak(b ops.Backend, s Sizes) (Peak, error) {
	var p Peak
	var failed error
	best := func(call func()) float64 { // calls a second
		rate := 0.0
		for range 5 {
			n, start := 0, time.Now()
			for ; n == 0 || time.Since(start) < 50*time.Millisecond; n += 4 {
				for range 4 {
					call()
				}
				if err := b.Sync(); err != nil {
					failed = err
				}
			}
			rate = max(rate, float64(n)/time.Since(start).Seconds())
		}
		return rate
	}
	err := Perf(b, s, "transfer", func(l Load) {
		if l.Name == "copy" {
			p.Bytes = l.Bytes * best(l.Call)
		}
	})
	if err == nil {
		err = Perf(b, s, "linear", func(l Load) {
			if l.Name == "product/forward" {
				p.Flops = l.Flops * best(l.Call)
			}
		})
	}
	if err == nil {
		err = failed
	}
	return p, err
}

// loader makes loads; their tensors are given back one operation after the other.
type loader struct {
	Sizes
	b         ops.Backend
	r         *rand.Rand // nil while memory is counted
	dev, host *ops.Arena
}

func (l *loader) each(filter string, f func(Load)) {
	for _, x := range loads {
		if !strings.Contains(x.op, filter) {
			continue
		}
		dev, host := l.dev.Mark(), l.host.Mark()
		for _, load := range x.make(l) {
			load.Op = x.op
			f(load)
		}
		l.dev.Release(dev)
		l.host.Release(host)
	}
}

// normal is a tensor of normal numbers, which come again after a while.
func (l *loader) normal(d tensor.DType, shape ...int) ops.Tensor {
	return l.filled(d, func() float64 { return l.r.NormFloat64() }, shape...)
}

// below is a tensor of numbers from 0 to n-1.
func (l *loader) below(n int, shape ...int) ops.Tensor {
	return l.filled(tensor.I32, func() float64 { return float64(l.r.IntN(n)) }, shape...)
}

func (l *loader) filled(d tensor.DType, next func() float64, shape ...int) ops.Tensor {
	x := l.dev.New(d, shape...)
	if l.r == nil {
		return x
	}
	v := make([]float64, min(x.Elems(), 1<<18))
	for i := range v {
		v[i] = next()
	}
	period := encode(d, v)
	raw := make([]byte, 0, x.Bytes())
	for len(raw) < cap(raw) {
		raw = append(raw, period[:min(len(period), cap(raw)-len(raw))]...)
	}
	l.b.Upload(x, raw)
	return x
}

func (l *loader) act(shape ...int) ops.Tensor    { return l.normal(l.b.Act(), shape...) }
func (l *loader) half(shape ...int) ops.Tensor   { return l.normal(tensor.BF16, shape...) }
func (l *loader) weight(shape ...int) ops.Weight { return ops.WeightOf(l.half(shape...)) }
func (l *loader) f32(shape ...int) ops.Tensor    { return l.normal(tensor.F32, shape...) }

// bytes is what the tensors take.
func bytesOf(ts ...ops.Tensor) float64 {
	n := 0.0
	for _, t := range ts {
		n += float64(t.Bytes())
	}
	return n
}

func (l *loader) transfers() []Load {
	a, b := l.act(l.T, l.F), l.act(l.T, l.F)
	host := l.host.New(l.b.Act(), l.T, l.C)
	part := a.Rows(0, l.T).Reshape(l.T*l.F).Rows(0, l.T*l.C)
	return []Load{
		{Name: "copy", Bytes: bytesOf(a, b), Call: func() { l.b.CopyRows(a, b, ops.Whole(a)) }},
		{Name: "zero", Bytes: bytesOf(a), Call: func() { l.b.Zero(a) }},
		{Name: "send", Bytes: bytesOf(host), Call: func() { l.b.Wait(l.b.Send(host, part, ops.Whole(host))) }},
		{Name: "fetch", Bytes: bytesOf(host), Call: func() { l.b.Wait(l.b.Fetch(part, host, ops.Whole(host))) }},
	}
}

func (l *loader) converts() []Load {
	wide, half := l.f32(l.T, l.C), l.half(l.T, l.C)
	return []Load{
		{Name: "widen", Bytes: bytesOf(wide, half), Call: func() { l.b.Convert(wide, half) }},
		{Name: "narrow", Bytes: bytesOf(wide, half), Call: func() { l.b.Convert(half, wide) }},
	}
}

func (l *loader) embeds() []Load {
	ids, table, y, dTable := l.below(l.V, l.T), l.weight(l.V, l.C), l.act(l.T, l.C), l.f32(l.V, l.C)
	waits, piece, words := l.host.New(tensor.F32, l.V, l.C), l.f32(l.T, l.C), (l.T+63)/64
	half := l.filled(tensor.I32, func() float64 { return 0x55555555 }, 2*words)
	far := ops.WeightOf(l.host.New(l.b.Act(), l.V, l.C))
	set := ops.RowSet{Bits: ops.Tensor{P: half.P, DType: tensor.U64, Shape: tensor.Shape{words}}, N: l.T / 2}
	rows := float64(l.T * l.C)
	return []Load{
		{Name: "forward", Bytes: bytesOf(y) + 2*rows, Call: func() { l.b.EmbedForward(y, table, ids) }},
		{Name: "forward/host", Bytes: bytesOf(y) + 2*rows, Call: func() { l.b.EmbedForward(y, far, ids) }},
		{Name: "backward", Bytes: bytesOf(y) + 8*rows, Call: func() { l.b.EmbedBackward(dTable, y, ids) }},
		{Name: "backward/host", Bytes: bytesOf(y) + 8*rows, Call: func() { l.b.EmbedBackward(waits, y, ids) }},
		{Name: "set/fetch", Bytes: bytesOf(piece) / 2, Call: func() { l.b.CopySet(piece, waits.Rows(0, l.T), set) }},
		{Name: "set/send", Bytes: bytesOf(piece) / 2, Call: func() { l.b.CopySet(waits.Rows(0, l.T), piece, set) }},
	}
}

// rmsnorms are of rows of the width, and of those of each head.
func (l *loader) rmsnorms() []Load {
	x, y, dx, w, dw, rstd := l.act(l.T, l.C), l.act(l.T, l.C), l.act(l.T, l.C), l.f32(l.C), l.f32(l.C), l.f32(l.T)
	heads := func(t ops.Tensor) ops.Tensor { return t.Reshape(l.T*(l.C/l.D), l.D) }
	hx, hy, hdx, hrstd := heads(x), heads(y), heads(dx), l.f32(l.T*(l.C/l.D))
	hw, hdw := w.Rows(0, l.D), dw.Rows(0, l.D)
	return []Load{
		{Name: "forward", Bytes: bytesOf(x, y), Call: func() { l.b.RMSNormForward(y, rstd, x, w, 0, 1e-5) }},
		{Name: "backward", Bytes: bytesOf(x, y, dx, dx), Call: func() { l.b.RMSNormBackward(dx, dw, y, x, rstd, w, 0) }},
		{Name: "backward/frozen", Bytes: bytesOf(x, y, dx, dx), Call: func() {
			l.b.RMSNormBackward(dx, ops.Tensor{}, y, x, rstd, w, 0)
		}},
		{Name: "heads/forward", Bytes: bytesOf(x, y), Call: func() { l.b.RMSNormForward(hy, hrstd, hx, hw, 0, 1e-5) }},
		{Name: "heads/backward", Bytes: bytesOf(x, y, dx, dx), Call: func() {
			l.b.RMSNormBackward(hdx, hdw, hy, hx, hrstd, hw, 0)
		}},
	}
}

func (l *loader) ropes() []Load {
	cs, pos, inv, x := l.f32(l.T, l.D), l.below(l.T, l.T), l.f32(l.D/2), l.act(l.T, l.H, l.D)
	return []Load{
		{Name: "table", Bytes: bytesOf(cs), Call: func() { l.b.RopeTable(cs, pos, inv, 1) }},
		{Name: "turn", Bytes: bytesOf(x, x), Call: func() { l.b.Rope(x, x, cs, false) }},
	}
}

func (l *loader) swiglus() []Load {
	h, g, u, dg, du := l.act(l.T, l.F), l.act(l.T, l.F), l.act(l.T, l.F), l.act(l.T, l.F), l.act(l.T, l.F)
	return []Load{
		{Name: "forward", Bytes: bytesOf(h, g, u), Call: func() { l.b.SwiGLUForward(h, g, u) }},
		{Name: "backward", Bytes: bytesOf(h, g, u, dg, du), Call: func() { l.b.SwiGLUBackward(dg, du, h, g, u) }},
	}
}

func (l *loader) layernorms() []Load {
	x, y, dx := l.act(l.T, l.C), l.act(l.T, l.C), l.act(l.T, l.C)
	stat, w, dw := l.f32(l.T, 2), l.f32(l.C), l.f32(l.C)
	return []Load{
		{Name: "forward", Bytes: bytesOf(x, y), Call: func() { l.b.LayerNormForward(y, stat, x, w, w, 1e-5) }},
		{Name: "backward", Bytes: bytesOf(x, y, dx, dx), Call: func() { l.b.LayerNormBackward(dx, dw, dw, y, x, stat, w) }},
	}
}

func (l *loader) gelus() []Load {
	h, g, u, dg, du := l.act(l.T, l.F), l.act(l.T, l.F), l.act(l.T, l.F), l.act(l.T, l.F), l.act(l.T, l.F)
	var none ops.Tensor
	return []Load{
		{Name: "exact/forward", Bytes: bytesOf(h, g), Call: func() { l.b.GELUForward(h, g, none, false) }},
		{Name: "exact/backward", Bytes: bytesOf(h, g, dg), Call: func() { l.b.GELUBackward(dg, none, h, g, none, false) }},
		{Name: "forward", Bytes: bytesOf(h, g, u), Call: func() { l.b.GELUForward(h, g, u, true) }},
		{Name: "backward", Bytes: bytesOf(h, g, u, dg, du), Call: func() { l.b.GELUBackward(dg, du, h, g, u, true) }},
	}
}

func (l *loader) scales() []Load {
	x, y := l.act(l.T, l.C), l.act(l.T, l.C)
	return []Load{
		{Name: "sum", Bytes: bytesOf(x, x, y), Call: func() { l.b.Scale(y, y, x, 0.5) }},
		{Name: "alone", Bytes: bytesOf(x, y), Call: func() { l.b.Scale(y, ops.Tensor{}, x, 0.5) }},
	}
}

// linears are a layer's four products, those of attention with trained factors, and one without anything besides; and
// products of one row, as generating has them, which are as fast as memory gives the weights.
func (l *loader) linears() []Load {
	product := func(name string, in, out, layers, rank int) []Load {
		x, dx := l.act(l.T, in), l.act(l.T, in)
		var fwd []ops.Proj
		var back []ops.ProjGrad
		for range layers {
			q := &ops.Linear{W: l.weight(out, in)}
			y := l.act(l.T, out)
			p, g := ops.Proj{L: q, Y: y}, ops.ProjGrad{L: q, DY: y}
			if rank > 0 {
				q.LoRA = &ops.LoRA{A: l.act(rank, in), B: l.act(out, rank), DA: l.f32(rank, in), DB: l.f32(out, rank), Scale: 1}
				p.XA, g.XA, g.DXA = l.act(l.T, rank), l.act(l.T, rank), l.act(l.T, rank)
			}
			fwd, back = append(fwd, p), append(back, g)
		}
		t, n := float64(l.T), float64(layers)
		flops, low := 2*t*n*float64(in*out), 2*t*n*float64(rank*(in+out))
		return []Load{
			{Name: name + "/forward", Flops: flops + low, Call: func() { l.b.LinearForward(x, ops.Tensor{}, fwd) }},
			{Name: name + "/backward", Flops: flops + 2*low, Call: func() { l.b.LinearBackward(dx, x, ops.Tensor{}, back) }},
		}
	}
	all := product("product", l.C, l.C, 1, 0)[:1]
	for _, x := range [][]Load{product("qkv", l.C, l.C, 3, l.R), product("o", l.C, l.C, 1, l.R),
		product("gateup", l.C, l.F, 2, 0), product("down", l.F, l.C, 1, 0)} {
		all = append(all, x...)
	}
	x, y, w := l.act(1, l.C), l.act(1, l.C), l.weight(l.F, l.C)
	square := ops.WeightOf(w.Dense().Rows(0, l.C))
	p := []ops.Proj{{L: &ops.Linear{W: square}, Y: y}}
	wide := []ops.Proj{{L: &ops.Linear{W: w}, Y: l.act(1, l.F)}}
	return append(all,
		Load{Name: "row/square", Bytes: bytesOf(square.Dense()), Call: func() { l.b.LinearForward(x, ops.Tensor{}, p) }},
		Load{Name: "row/wide", Bytes: bytesOf(w.Dense()), Call: func() { l.b.LinearForward(x, ops.Tensor{}, wide) }})
}

// attentions counts 4·D operations forward for a query and a key that it sees, and 10·D backward.
func (l *loader) attentions() []Load {
	var all []Load
	for _, c := range []struct {
		name string
		spec s2attn.Spec
		cap  float32
	}{
		{"groups", s2attn.Spec{Mode: s2attn.Split, Group: l.G}, 0},
		{"full", s2attn.Spec{Mode: s2attn.Full}, 0},
		{"window", s2attn.Windowed(l.G), 0},
		{"capped", s2attn.Spec{Mode: s2attn.Full}, 50},
	} {
		queries := func() ops.Tensor { return l.act(l.T, l.H, l.D) }
		a := &ops.Attn{H: l.H, Hkv: l.Hkv, D: l.D, Scale: float32(1 / math.Sqrt(float64(l.D))), Spec: c.spec, Cap: c.cap,
			Docs: []int32{0, int32(l.T)}, Fresh: true, Q: queries(), O: queries(), DO: queries(), DQ: queries(),
			K: l.act(l.T, l.Hkv, l.D), V: l.act(l.T, l.Hkv, l.D), DK: l.f32(l.T, l.Hkv, l.D), DV: l.f32(l.T, l.Hkv, l.D),
			LSE: l.f32(l.H, l.T), Delta: l.f32(l.H, l.T)}
		if l.b.Act() != tensor.F32 {
			a.Work = l.dev.New(tensor.F32, int(ops.AttnWork(l.T, l.H, l.D)/4))
		}
		pairs := a.Pairs(l.T) * float64(l.D)
		forward := func() { l.b.AttnForward(a) }
		if l.r != nil {
			forward() // the backward pass reads its results
		}
		all = append(all, Load{Name: c.name + "/forward", Flops: 4 * pairs, Call: forward},
			Load{Name: c.name + "/backward", Flops: 10 * pairs, Call: func() { l.b.AttnBackward(a) }})
		if c.name == "full" { // the last query alone, as generating has it
			one := *a
			one.Q, one.O, one.LSE, one.Q0 = l.act(1, l.H, l.D), l.act(1, l.H, l.D), l.f32(l.H, 1), l.T-1
			all = append(all, Load{Name: "one", Bytes: bytesOf(a.K, a.V), Call: func() { l.b.AttnForward(&one) }})
		}
	}
	return all
}

func (l *loader) headLosses() []Load {
	x, w, dx, dw, tg := l.act(l.T, l.C), l.weight(l.V, l.C), l.act(l.T, l.C), l.f32(l.V, l.C), l.below(l.V, l.T)
	h := ops.HeadLoss{X: x, W: w, Targets: tg, NLL: l.f32(l.T), Scale: 1e-4, Logits: l.f32(min(l.T, 1024), l.V)}
	frozen, trained := h, h
	frozen.DX = dx
	trained.DX, trained.DW = dx, dw
	product := 2 * float64(l.T) * float64(l.C) * float64(l.V)
	return []Load{
		{Name: "scored", Flops: product, Call: func() { l.b.HeadLoss(&h) }},
		{Name: "frozen", Flops: 2 * product, Call: func() { l.b.HeadLoss(&frozen) }},
		{Name: "trained", Flops: 3 * product, Call: func() { l.b.HeadLoss(&trained) }},
	}
}

func (l *loader) argmaxes() []Load {
	logits, idx := l.act(64, l.V), l.below(l.V, 64)
	return []Load{{Name: "64rows", Bytes: bytesOf(logits), Call: func() { l.b.ArgMax(idx, logits) }}}
}

func (l *loader) sums() []Load {
	x, out := l.f32(l.V*l.C), l.dev.New(tensor.F64, 1)
	if l.r != nil {
		l.b.Zero(out)
	}
	return []Load{
		{Name: "sum", Bytes: bytesOf(x), Call: func() { l.b.SumF32(out, x) }},
		{Name: "squares", Bytes: bytesOf(x), Call: func() { l.b.SumSquares(out, x) }},
	}
}

func (l *loader) adamws() []Load {
	n := l.V * l.C
	w, m, v, g, cp := l.f32(n), l.f32(n), l.f32(n), l.f32(n), ops.Tensor{}
	if l.b.Act() != tensor.F32 {
		cp = l.act(n)
	}
	if l.r != nil {
		l.b.Zero(v) // second moments are no normal numbers
	}
	h := ops.AdamW{LR: 1e-5, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, GradScale: 1, Step: 100}
	total := bytesOf(w, w, m, m, v, v, g)
	if !cp.None() {
		total += bytesOf(cp)
	}
	out := []Load{{Name: "update", Bytes: total, Call: func() { l.b.AdamW(w, m, v, g, cp, h) }}}
	if !cp.None() {
		far := l.host.New(cp.DType, n)
		out = append(out, Load{Name: "update/host", Bytes: total, Call: func() { l.b.AdamW(w, m, v, g, far, h) }})
	}
	return out
}
