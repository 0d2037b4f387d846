package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
	"longlora/internal/ops/optest"
	"longlora/internal/tensor"
	"longlora/internal/testkit/perf"
)

// Every operation against float64, on every instruction set that this machine has.
func TestOps(t *testing.T) {
	for s := kernels.Plain; s <= kernels.Best(); s++ {
		t.Run(s.String(), func(t *testing.T) {
			for _, r := range optest.Run(NewSet(2, s), "", nil) {
				if !r.OK() {
					t.Error(r)
				}
			}
		})
	}
}

// BenchmarkOps times every operation at the sizes of a tiny layer: see optest.
func BenchmarkOps(b *testing.B) { perf.Ops(b, New(runtime.NumCPU()), optest.LayerTiny) }

// The same bits for any number of threads, and for a row whatever rows are computed with it.
func TestBitsDependOnTheRowAlone(t *testing.T) {
	bits := func(threads, rows int) string {
		b, r := New(threads), rand.New(rand.NewPCG(5, 6))
		matrix := func(m, n int) ops.Tensor {
			p, err := b.Reserve(ops.Device, int64(4*m*n), "test")
			if err != nil {
				t.Fatal(err)
			}
			x := ops.Tensor{P: p, DType: tensor.F32, Shape: tensor.Shape{m, n}}
			for i := range x.F32() {
				x.F32()[i] = float32(r.NormFloat64())
			}
			return x
		}
		x, w, y := matrix(300, 130), matrix(777, 130), matrix(300, 777)
		b.LinearForward(x.Rows(0, rows), ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: ops.WeightOf(w)}, Y: y.Rows(0, rows)}})
		return fmt.Sprint(y.F32()[:7*777])
	}
	want := bits(1, 300)
	for _, c := range [][2]int{{2, 300}, {3, 300}, {2, 7}, {1, 113}} {
		if bits(c[0], c[1]) != want {
			t.Errorf("%d threads, %d rows: other bits than one thread and 300 rows", c[0], c[1])
		}
	}
	if bits(1, 1) != bits(2, 1) || bits(1, 1) != bits(3, 1) {
		t.Error("one row: other bits with other threads")
	}
}

// value is what a 16-bit float is by its definition.
func value(d tensor.DType, u int) float64 {
	fraction, bias := 10, 15
	if d == tensor.BF16 {
		fraction, bias = 7, 127
	}
	e, m, top := u>>fraction&(1<<(15-fraction)-1), float64(u&(1<<fraction-1)), 1<<(15-fraction)-1
	v := math.Ldexp(m+float64(int(1)<<fraction), e-bias-fraction)
	switch {
	case e == 0:
		v = math.Ldexp(m, 1-bias-fraction)
	case e == top && m > 0:
		v = math.NaN()
	case e == top:
		v = math.Inf(1)
	}
	if u>>15 == 1 {
		return -v
	}
	return v
}

// Every 16-bit pattern, wherever a kernel widens stored weights: products by ones are the value, or 32 times it, which
// is as exact, and infinities and NaN stay.
func TestHalves(t *testing.T) {
	const all = 1 << 16
	for s := kernels.Plain; s <= kernels.Best(); s++ {
		b := NewSet(2, s)
		matrix := func(d tensor.DType, m, n int) ops.Tensor {
			p, err := b.Reserve(ops.Device, int64(d.Size()*m*n), "test")
			if err != nil {
				t.Fatal(err)
			}
			x := ops.Tensor{P: p, DType: d, Shape: tensor.Shape{m, n}}
			t.Cleanup(func() { b.Free(ops.Device, p, x.Bytes()) })
			return x
		}
		ones := func(m, n int) ops.Tensor {
			x := matrix(tensor.F32, m, n)
			for i := range x.F32() {
				x.F32()[i] = 1
			}
			return x
		}
		patterns := func(d tensor.DType, n int, shape ...int) ops.Tensor { // each n times
			w := matrix(d, shape[0], shape[1])
			for i := range w.Half() {
				w.Half()[i] = uint16(i / n)
			}
			return w
		}
		forward := func(rows, n int) func(tensor.DType) []float32 {
			return func(d tensor.DType) []float32 {
				y := matrix(tensor.F32, rows, all)
				b.LinearForward(ones(rows, n), ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: ops.WeightOf(patterns(d, n, all, n))}, Y: y}})
				return y.F32()
			}
		}
		for way, c := range map[string]struct {
			times int
			call  func(tensor.DType) []float32
		}{
			"one row, 32 columns":  {32, forward(1, 32)},
			"one row, one column":  {1, forward(1, 1)},
			"ten rows, 32 columns": {32, forward(10, 32)},
			"ten rows, one column": {1, forward(10, 1)},
			"backward": {1, func(d tensor.DType) []float32 {
				dx := matrix(tensor.F32, 10, all)
				b.LinearBackward(dx, ops.Tensor{}, ops.Tensor{}, []ops.ProjGrad{{L: &ops.Linear{W: ops.WeightOf(patterns(d, 1, 1, all))}, DY: ones(10, 1)}})
				return dx.F32()
			}},
			"embedding": {1, func(d tensor.DType) []float32 {
				id, y := matrix(tensor.I32, 1, 1).Reshape(1), matrix(tensor.F32, 1, all)
				b.EmbedForward(y, ops.WeightOf(patterns(d, 1, 1, all)), id)
				return y.F32()
			}},
			"converted": {1, func(d tensor.DType) []float32 {
				y := matrix(tensor.F32, 1, all)
				b.Convert(y, patterns(d, 1, 1, all))
				return y.F32()
			}},
		} {
			for _, d := range []tensor.DType{tensor.BF16, tensor.F16} {
				got := c.call(d)
				for i, g := range got {
					want := float64(float32(value(d, i%all) * float64(c.times))) // infinite above bfloat16's 2^123
					if float64(g) != want && !(math.IsNaN(want) && math.IsNaN(float64(g))) {
						t.Errorf("%s, %s, %s: %d times %#04x is %g, want %g", s, way, d, c.times, i%all, g, want)
						break
					}
				}
			}
		}
	}
}
