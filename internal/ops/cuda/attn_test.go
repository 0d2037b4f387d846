//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"longlora/internal/ops"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// The attention of other devices, judged on this one.
func TestPortableAttention(t *testing.T) {
	b := open(t)
	b.portable(true)
	defer b.portable(false)
	optest.Run(b, "attention", func(r optest.Result) {
		if !r.OK() {
			t.Error(r)
		}
	})
}

// BenchmarkAttention times attention of LLaMA-2 7B's heads and of variants, in groups (half the heads shifted) and in
// full. TFLOP/s counts 4·D operations for a query and a key that it sees, and 10·D backward. The other side, of the
// same sizes, is scripts/bench-attention.py.
func BenchmarkAttention(bench *testing.B) {
	const tokens = 32768
	for _, s := range []struct{ group, hkv, d int }{{2048, 32, 128}, {8192, 32, 128}, {32768, 32, 128}, {8192, 8, 128}, {8192, 32, 64}} {
		a := &ops.Attn{H: 32, Hkv: s.hkv, D: s.d, Scale: float32(1 / math.Sqrt(float64(s.d))), Docs: []int32{0, tokens}, Fresh: true,
			Spec: s2attn.Spec{Mode: s2attn.Split, Group: s.group}}
		if s.group == tokens {
			a.Spec.Mode = s2attn.Full
		}
		bench.Run(fmt.Sprintf("G%d/Hkv%d/D%d", s.group, s.hkv, s.d), func(bench *testing.B) { benchAttention(bench, a, tokens) })
	}
}

func benchAttention(bench *testing.B, a *ops.Attn, t int) {
	b := open(bench)
	arena := func(d tensor.DType, shape ...int) ops.Tensor {
		x := ops.Tensor{DType: d, Shape: shape}
		p, err := b.Reserve(ops.Device, x.Bytes(), "benchmark")
		if err != nil {
			bench.Fatal(err)
		}
		bench.Cleanup(func() { b.Free(ops.Device, p, x.Bytes()) })
		x.P = p
		return x
	}
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]uint16, t*a.H*a.D+4096)
	const period = 1 << 20
	for i := range values {
		if i < period {
			values[i] = tensor.F32ToBF16(float32(r.NormFloat64()))
		} else {
			values[i] = values[i-period]
		}
	}
	random := func(skip int, shape ...int) ops.Tensor {
		x := arena(tensor.BF16, shape...)
		b.Upload(x, asBytes(values[skip:skip+x.Elems()]))
		return x
	}
	q, do := random(0, t, a.H, a.D), random(1024, t, a.H, a.D)
	k, v := random(2048, t, a.Hkv, a.D), random(4096, t, a.Hkv, a.D)
	o, dq := arena(tensor.BF16, t, a.H, a.D), arena(tensor.BF16, t, a.H, a.D)
	dk, dv := arena(tensor.F32, t, a.Hkv, a.D), arena(tensor.F32, t, a.Hkv, a.D)
	lse, delta := arena(tensor.F32, a.H, t), arena(tensor.F32, a.H, t)
	a.Q, a.K, a.V, a.O, a.LSE, a.DO, a.DQ, a.DK, a.DV, a.Delta = q, k, v, o, lse, do, dq, dk, dv, delta
	a.Work = arena(tensor.F32, int(ops.AttnWork(t, a.H, a.D)/4))
	for _, portable := range []bool{false, true} {
		b.portable(portable)
		time := func(name string, operations float64, call func()) {
			bench.Run(fmt.Sprintf("%s/portable=%v", name, portable), func(bench *testing.B) {
				for range bench.N {
					call()
				}
				if err := b.Sync(); err != nil {
					bench.Fatal(err)
				}
				bench.ReportMetric(operations*a.Pairs(t)*float64(bench.N)/bench.Elapsed().Seconds()/1e12, "TFLOP/s")
			})
		}
		time("forward", 4*float64(a.D), func() { b.AttnForward(a) })
		time("backward", 10*float64(a.D), func() { b.AttnBackward(a) })
	}
	b.portable(false)
}
