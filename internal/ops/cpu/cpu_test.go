package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
	"longlora/internal/ops/optest"
	"longlora/internal/quant"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
	"longlora/internal/testkit/perf"
)

// Every operation against float64, on every instruction set that this machine has.
func TestOps(t *testing.T) {
	if testkit.Race {
		t.Skip("the judge shares nothing; TestSideBySide runs the same operations")
	}
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

// Every operation on more workers than one, with so many rows that each has some, and with so few that they are divided
// otherwise: for the race detector, which sees the kernels in Go, and what calls those in C.
func TestSideBySide(t *testing.T) {
	for _, s := range []kernels.Set{kernels.Plain, kernels.Best()} {
		for _, n := range []int{100, 3} {
			called := map[string]bool{}
			err := optest.Perf(NewSet(4, s), optest.Sizes{T: n, C: 64, F: 72, H: 4, Hkv: 2, D: 16, V: 300, R: 3, G: 32}, "", func(l optest.Load) {
				l.Call()
				l.Call()
				called[l.Op] = true
			})
			if ops := optest.Ops(); err != nil || len(called) != len(ops) {
				t.Errorf("%s, %d tokens: called %v, judged are %v; %v", s, n, called, ops, err)
			}
		}
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

// Products with an NF4 matrix have the bits of products with its values, whatever the shapes and the factors; a few rows'
// are as near.
func TestNF4(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	random := func(n int64) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	numbers := func(n int64, scale float64) (b []byte) {
		for range n / 4 {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(scale*r.NormFloat64())))
		}
		return b
	}
	for set := kernels.Plain; set <= kernels.Best(); set++ {
		b := NewSet(2, set)
		for _, d := range []tensor.DType{tensor.BF16, tensor.F16, tensor.F32} {
			for _, c := range [][4]int{{1, 96, 64, 64}, {4, 77, 333, 64}, {50, 70, 320, 64}, {30, 129, 130, 128}, {61, 64, 1, 16}, {20, 33, 65, 1024}} {
				n, out, in, block := c[0], c[1], c[2], c[3]
				for _, nested := range []int{0, 5} {
					s := tensor.Stored{Format: tensor.Format{Type: d, Code: tensor.NF4, Block: block, Nested: nested}, Shape: tensor.Shape{out, in}}
					p, _ := s.Format.Parts(s.Shape)
					scale := []float64{1, 1e-6}[n%2] // small ones are subnormal in float16
					s.Data, s.Scales = random(p.Data), tensor.Scales{Map: numbers(p.Map, 1), Absmax: numbers(p.Absmax, scale)}
					if nested > 0 {
						s.Scales = tensor.Scales{Map: s.Scales.Map, Absmax: random(p.Absmax), NestedMap: numbers(p.NestedMap, scale),
							NestedAbsmax: numbers(p.NestedAbsmax, 1), Offset: float32(scale)}
					}
					sameAsValues(t, b, s, n, r)
				}
			}
		}
	}
}

// Products with an FP8 matrix, too.
func TestFP8(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for set := kernels.Plain; set <= kernels.Best(); set++ {
		b := NewSet(2, set)
		for _, c := range [][3]int{{1, 96, 64}, {4, 77, 333}, {50, 70, 320}, {30, 129, 130}, {61, 64, 1}, {20, 33, 65}} {
			n, out, in := c[0], c[1], c[2]
			s := tensor.Stored{Format: tensor.Format{Type: tensor.F32, Code: tensor.FP8}, Shape: tensor.Shape{out, in}}
			for range out {
				s.Scales.Absmax = binary.LittleEndian.AppendUint32(s.Scales.Absmax, math.Float32bits(float32(r.NormFloat64())))
			}
			for range out * in {
				code := byte(r.Uint32())
				if code&0x7f == 0x7f { // NaN
					code--
				}
				s.Data = append(s.Data, code)
			}
			sameAsValues(t, b, s, n, r)
		}
	}
}

// sameAsValues compares products of n rows with a matrix of codes and with its values.
func sameAsValues(t *testing.T, b *Backend, s tensor.Stored, n int, r *rand.Rand) {
	t.Helper()
	out, in := s.Shape[0], s.Shape[1]
	codes, err := b.Weight(s)
	if err != nil {
		t.Fatal(err)
	}
	v := make([]float32, out*in)
	quant.Decode(v, s, 0)
	values := floatTensor(t, b, v, out, in)
	x, dy := floatTensor(t, b, nil, n, in), floatTensor(t, b, nil, n, out)
	for i := range x.F32() {
		x.F32()[i] = float32(r.NormFloat64())
	}
	for i := range dy.F32() {
		dy.F32()[i] = float32(r.NormFloat64())
	}
	var y, dx [2]ops.Tensor
	for i, w := range []ops.Weight{codes, ops.WeightOf(values)} {
		y[i], dx[i] = floatTensor(t, b, nil, n, out), floatTensor(t, b, nil, n, in)
		l := &ops.Linear{W: w}
		b.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: l, Y: y[i]}})
		b.LinearBackward(dx[i], ops.Tensor{}, ops.Tensor{}, []ops.ProjGrad{{L: l, DY: dy}})
	}
	same := slices.Equal(y[0].F32(), y[1].F32())
	if n <= decodeRows { // dot products, whose last few summands are added up apart
		same = testkit.Relative(y[0].F32(), y[1].F32()) < 1e-6
	}
	if !same || !slices.Equal(dx[0].F32(), dx[1].F32()) {
		t.Errorf("%s, %d rows, %s of %d by %d: other bits than its values give", b.Set(), n, s.Format, out, in)
	}
}

// floatTensor is a float32 matrix, of these values where there are some.
func floatTensor(t *testing.T, b *Backend, v []float32, m, n int) ops.Tensor {
	t.Helper()
	p, err := b.Reserve(ops.Device, int64(4*m*n), "test")
	if err != nil {
		t.Fatal(err)
	}
	x := ops.Tensor{P: p, DType: tensor.F32, Shape: tensor.Shape{m, n}}
	t.Cleanup(func() { b.Free(ops.Device, p, x.Bytes()) })
	copy(x.F32(), v)
	return x
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
