//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// The attention of other devices, and that of a device which others use too, judged on this one.
func TestAttentionElsewhere(t *testing.T) {
	b := open(t)
	for name, set := range map[string]func(bool){"portable": b.portable, "crowded": b.crowded} {
		t.Run(name, func(t *testing.T) {
			set(true)
			defer set(false)
			optest.Run(b, "attention", func(r optest.Result) {
				if !r.OK() {
					t.Error(r)
				}
			})
		})
	}
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

// One query over a cache that takes many blocks and several rounds of each, against float64; what lies behind the query is
// NaN. The same bits twice.
func TestLongCache(t *testing.T) {
	b := open(t)
	for _, c := range []struct{ h, hkv, d, keys, window int }{
		{32, 32, 128, 8191, 0}, {32, 8, 128, 20001, 0}, {64, 8, 64, 9000, 0}, {6, 2, 80, 30000, 0}, {8, 1, 256, 12345, 0},
		{32, 4, 128, 16000, 9001},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			const behind = 5
			a := &ops.Attn{H: c.h, Hkv: c.hkv, D: c.d, Scale: float32(1 / math.Sqrt(float64(c.d))), Q0: c.keys - 1,
				Docs: []int32{0, int32(c.keys) + behind}, Spec: s2attn.Spec{Mode: s2attn.Full}}
			seen := c.keys
			if c.window > 0 {
				a.Spec, seen = s2attn.Windowed(c.window), c.window
			}
			r := rand.New(rand.NewPCG(3, 4))
			half := func(nan int, shape ...int) (ops.Tensor, []float64) {
				x := ops.Tensor{DType: tensor.BF16, Shape: shape}
				bits, v := make([]uint16, x.Elems()), make([]float64, x.Elems())
				for i := range bits {
					bits[i] = tensor.F32ToBF16(float32(r.NormFloat64()))
					if i >= len(bits)-nan {
						bits[i] = 0x7fff
					}
					v[i] = float64(tensor.BF16ToF32(bits[i]))
				}
				x.P = reserve(t, b, x.Bytes())
				b.Upload(x, asBytes(bits))
				return x, v
			}
			var q, k, v []float64
			a.Q, q = half(0, 1, c.h, c.d)
			a.K, k = half(behind*c.hkv*c.d, c.keys+behind, c.hkv, c.d)
			a.V, v = half(behind*c.hkv*c.d, c.keys+behind, c.hkv, c.d)
			a.O = ops.Tensor{DType: tensor.BF16, Shape: tensor.Shape{1, c.h, c.d}, P: reserve(t, b, int64(2*c.h*c.d))}
			a.LSE = ops.Tensor{DType: tensor.F32, Shape: tensor.Shape{c.h, 1}, P: reserve(t, b, int64(4*c.h))}
			want, lse := longCache(a, c.keys-seen, q, k, v)
			var before []uint16
			for range 2 {
				b.AttnForward(a)
				got, logs := make([]uint16, c.h*c.d), make([]float32, c.h)
				if err := errors.Join(b.Download(asBytes(got), a.O), b.Download(unsafe.Slice((*byte)(unsafe.Pointer(&logs[0])),
					4*len(logs)), a.LSE)); err != nil {
					t.Fatal(err)
				}
				if before != nil && !slices.Equal(before, got) {
					t.Error("other bits the second time")
				}
				before = got
				off, sum := 0.0, 0.0
				for i, x := range got {
					y := float64(tensor.BF16ToF32(x))
					off, sum = off+(y-want[i])*(y-want[i]), sum+want[i]*want[i]
				}
				// probabilities and results are rounded to 8 bits
				if off = math.Sqrt(off / sum); !(off < 4e-3) {
					t.Errorf("off by %.2g", off)
				}
				for h, y := range logs {
					if !(math.Abs(float64(y)-lse[h]) < 1e-4) {
						t.Errorf("lse of head %d is %v, want %v", h, y, lse[h])
					}
				}
			}
		})
	}
}

// longCache is attention of one query to the keys from lo on, and the logarithms of the sums.
func longCache(a *ops.Attn, lo int, q, k, v []float64) (o, lse []float64) {
	o, lse = make([]float64, len(q)), make([]float64, a.H)
	for h := range a.H {
		sum, y := 0.0, o[h*a.D:(h+1)*a.D]
		for t := lo; t <= a.Q0; t++ {
			at, s := (t*a.Hkv+h*a.Hkv/a.H)*a.D, 0.0
			for d := range a.D {
				s += q[h*a.D+d] * k[at+d]
			}
			p := math.Exp(s * float64(a.Scale))
			sum += p
			for d := range y {
				y[d] += p * v[at+d]
			}
		}
		lse[h] = math.Log(sum)
		for d := range y {
			y[d] /= sum
		}
	}
	return o, lse
}

// reserve takes device memory for as long as the test runs.
func reserve(t testing.TB, b *Backend, bytes int64) unsafe.Pointer {
	p, err := b.Reserve(ops.Device, bytes, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Free(ops.Device, p, bytes) })
	return p
}
