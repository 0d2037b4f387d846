//go:build cuda

package cuda

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// e4m3 are the floats of 8 bits by their definition.
func e4m3(c byte) float64 {
	x := math.Ldexp(float64(8+c&7), int(c>>3&15)-10)
	if c>>3&15 == 0 {
		x = math.Ldexp(float64(c&7), -9)
	}
	if c>>7 == 1 {
		return -x
	}
	return x
}

// nearest is the code whose float is nearest to x, which is at most 448, of two equally near ones the even one.
func nearest(x float64) byte {
	a, lo, hi := math.Abs(x), 0, 0x7e
	for lo < hi {
		if mid := (lo + hi + 1) / 2; e4m3(byte(mid)) <= a {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	if lo < 0x7e {
		if down, up := a-e4m3(byte(lo)), e4m3(byte(lo+1))-a; up < down || up == down && lo%2 == 1 {
			lo++
		}
	}
	if math.Signbit(x) {
		return byte(lo) | 0x80
	}
	return byte(lo)
}

// bed is device memory for a test, with bfloat16 matrices of random numbers.
type bed struct {
	t *testing.T
	b *Backend
	r *rand.Rand
}

func (d *bed) room(n int) unsafe.Pointer {
	d.t.Helper()
	p, err := d.b.Reserve(ops.Device, int64(n), "test")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { d.b.Free(ops.Device, p, int64(n)) })
	return p
}

// matrix is a random one; change alters its values before.
func (d *bed) matrix(m, n int, change func(v []uint16)) (ops.Tensor, []uint16) {
	v, some := make([]uint16, m*n), make([]uint16, 1<<16)
	for i := range some {
		some[i] = tensor.F32ToBF16(float32(d.r.NormFloat64()))
	}
	for i := range v { // drawn anew each would take longer than all else
		v[i] = some[d.r.Uint32()>>16]
	}
	if change != nil {
		change(v)
	}
	x := ops.Tensor{P: d.room(2 * m * n), DType: tensor.BF16, Shape: tensor.Shape{m, n}}
	d.b.Upload(x, asBytes(v))
	return x, v
}

func (d *bed) read(x ops.Tensor) []uint16 {
	d.t.Helper()
	v := make([]uint16, x.Elems())
	if err := d.b.Download(asBytes(v), x); err != nil {
		d.t.Fatal(err)
	}
	return v
}

func wideOf(v []uint16) []float64 {
	out := make([]float64, len(v))
	for i, u := range v {
		out[i] = float64(tensor.BF16ToF32(u))
	}
	return out
}

// narrowed are the codes and the scale of a row by the definition, in float32.
func narrowed(row []float64) (codes []byte, scale float64) {
	most := 0.0
	for _, x := range row {
		most = max(most, math.Abs(x)) // NaN is kept
	}
	s := float32(1)
	if most != 0 {
		s = max(float32(most)/448, 0x1p-126)
	}
	if !(most <= math.MaxFloat32) {
		s = float32(math.NaN())
	}
	r := 1 / s
	for _, x := range row {
		codes = append(codes, nearest(min(max(float64(float32(x)*r), -448), 448)))
	}
	return codes, float64(s)
}

// Rows become the nearest floats of 8 bits beside their scale, times the columns' factors where there are some.
func TestNarrowFP8(t *testing.T) {
	d := &bed{t, open(t), rand.New(rand.NewPCG(3, 4))}
	for _, c := range [][2]int{{1, 16}, {7, 4096}, {5, 333}, {130, 11008}, {3, 28672}, {2, 32776}} {
		m, n := c[0], c[1]
		x, v := d.matrix(m, n, func(v []uint16) {
			for i := range v[:n] {
				v[i] = 0
			}
			v[len(v)-1] = tensor.F32ToBF16(-1e4)
		})
		f := make([]float32, n)
		for i := range f {
			f[i] = float32(d.r.ExpFloat64())
		}
		factor := ops.Tensor{P: d.room(4 * n), DType: tensor.F32, Shape: tensor.Shape{n}}
		d.b.Upload(factor, unsafe.Slice((*byte)(unsafe.Pointer(&f[0])), 4*n))
		codes := ops.Tensor{P: d.room(m*n + 3), DType: tensor.I32, Shape: tensor.Shape{(m*n + 3) / 4}}
		scale := ops.Tensor{P: d.room(4 * m), DType: tensor.F32, Shape: tensor.Shape{m}}
		for _, with := range []unsafe.Pointer{nil, factor.P} {
			d.b.enter()
			d.b.narrow(codes.P, scale.P, x, with)
			d.b.leave()
			got, s := make([]byte, codes.Bytes()), make([]byte, 4*m)
			if err := d.b.Download(got, codes); err != nil {
				t.Fatal(err)
			}
			if err := d.b.Download(s, scale); err != nil {
				t.Fatal(err)
			}
			for i := range m {
				row := wideOf(v[i*n : (i+1)*n])
				for j := range row {
					if with != nil {
						row[j] = float64(float32(row[j]) * f[j])
					}
				}
				want, ws := narrowed(row)
				if gs := float64(math.Float32frombits(binary.LittleEndian.Uint32(s[4*i:]))); gs != ws {
					t.Fatalf("%v, row %d: scale %v, want %v", c, i, gs, ws)
				}
				if !bytes.Equal(got[i*n:(i+1)*n], want) {
					t.Fatalf("%v, row %d: other codes", c, i)
				}
			}
		}
	}
}

// Products in FP8 are those of what is multiplied: the weights' codes and the rows' nearest, in float32 sums, rounded
// once. Zeros, NaN and infinities of a row stay in it, and the bits are the same the second time.
func TestProductsFP8(t *testing.T) {
	d := &bed{t, open(t), rand.New(rand.NewPCG(5, 6))}
	if err := d.b.MultiplyFP8(true); err != nil {
		t.Skip(err)
	}
	for _, c := range [][3]int{{1, 256, 512}, {37, 512, 256}, {4096, 4096, 4096}, {9001, 4096, 11008}, {9001, 11008, 4096}, {3000, 8192, 28672}, {512, 200, 72}} {
		n, in, out := c[0], c[1], c[2]
		x, vx := d.matrix(n, in, func(v []uint16) {
			if n > 30 {
				clear(v[5*in : 6*in])
				v[7*in+3], v[9*in+1] = 0x7fc0, 0x7f80
			}
		})
		dy, vdy := d.matrix(n, out, func(v []uint16) {
			if n > 30 {
				clear(v[5*out : 6*out])
				v[7*out+3], v[9*out+1] = 0x7fc0, 0xff80
			}
		})
		res, vres := d.matrix(n, out, nil)
		s := tensor.Format{Type: tensor.F32, Code: tensor.FP8}.Make(tensor.Shape{out, in}, func(n int64) []byte { return make([]byte, n) })
		seed := d.r.Uint64()
		quant.Encode(&s, func(dst []float32, lo int) {
			r := rand.New(rand.NewPCG(seed, uint64(lo)))
			for i := range dst {
				dst[i] = float32(r.NormFloat64()) * 0.02
			}
		})
		w, err := d.b.Weight(s)
		if err != nil {
			t.Fatal(err)
		}
		y, dx := ops.Tensor{P: d.room(2 * n * out), DType: tensor.BF16, Shape: tensor.Shape{n, out}}, ops.Tensor{P: d.room(2 * n * in), DType: tensor.BF16, Shape: tensor.Shape{n, in}}
		l := &ops.Linear{W: w}
		f := make([]float64, out)
		for o := range f {
			f[o] = float64(math.Float32frombits(binary.LittleEndian.Uint32(s.Scales.Absmax[4*o:])))
		}
		for _, fast := range []bool{false, true} {
			d.b.fast = fast
			var gy, gdx [2][]uint16
			for i := range 2 {
				start := time.Now()
				d.b.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: l, Y: y, Res: res}})
				gy[i] = d.read(y)
				d.b.LinearBackward(dx, ops.Tensor{}, ops.Tensor{}, []ops.ProjGrad{{L: l, DY: dy}})
				gdx[i] = d.read(dx)
				t.Logf("%v, fast %v: %v", c, fast, time.Since(start))
			}
			if !bytes.Equal(asBytes(gy[0]), asBytes(gy[1])) || !bytes.Equal(asBytes(gdx[0]), asBytes(gdx[1])) {
				t.Errorf("%v, fast %v: other bits the second time", c, fast)
			}
			var off, size, plain [2]float64
			for i := range 40 {
				row := i
				if i > 10 || row >= n {
					row = d.r.IntN(n)
				}
				xs, ds := wideOf(vx[row*in:(row+1)*in]), wideOf(vdy[row*out:(row+1)*out])
				for o := range ds {
					ds[o] = float64(float32(ds[o]) * float32(f[o]))
				}
				xc, xscale := narrowed(xs)
				dc, dscale := narrowed(ds)
				for range 24 {
					o, k := d.r.IntN(out), d.r.IntN(in)
					sum, back, px, pd := 0.0, 0.0, 0.0, 0.0
					for j, q := range xc {
						v := e4m3(s.Data[o*in+j])
						sum, px = sum+e4m3(q)*v, px+xs[j]*v
					}
					for j, q := range dc {
						v := e4m3(s.Data[j*in+k])
						back, pd = back+e4m3(q)*v, pd+ds[j]*v
					}
					r := float64(tensor.BF16ToF32(vres[row*out+o]))
					for j, p := range [][3]float64{{sum*xscale*f[o] + r, px*f[o] + r, float64(tensor.BF16ToF32(gy[0][row*out+o]))}, {back * dscale, pd, float64(tensor.BF16ToF32(gdx[0][row*in+k]))}} {
						if n > 30 && (row == 7 || row == 9) {
							if p[2] == p[2] && !math.IsInf(p[2], 0) {
								t.Fatalf("%v: row %d has NaN or an infinity, product %d is %v", c, row, j, p[2])
							}
							continue
						}
						off[j], plain[j], size[j] = off[j]+(p[2]-p[0])*(p[2]-p[0]), plain[j]+(p[2]-p[1])*(p[2]-p[1]), size[j]+p[1]*p[1]
					}
				}
			}
			for j, what := range []string{"forward", "back"} {
				e, p := math.Sqrt(off[j]/size[j]), math.Sqrt(plain[j]/size[j])
				t.Logf("%v %s, fast %v: off by %.2g of the product of what is multiplied, by %.2g of that of what was given", c, what, fast, e, p)
				// bfloat16's rounding is 1.7e-3 in the mean; widths without a product in FP8 are made wide
				if in%16 == 0 && out%16 == 0 && n > 30 && !fast && e > 3.5e-3 || !(p < 0.06) {
					t.Errorf("%v %s, fast %v: off by %v and %v", c, what, fast, e, p)
				}
			}
		}
		if err := d.b.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := d.b.FreeWeights(); err != nil {
			t.Fatal(err)
		}
	}
}

// SwiGLU done with the products beside it gives the bits that it and they give one after the other.
func TestGatedFP8(t *testing.T) {
	d := &bed{t, open(t), rand.New(rand.NewPCG(7, 8))}
	if err := d.b.MultiplyFP8(true); err != nil {
		t.Skip(err)
	}
	weight := func(out, in int) *ops.Linear {
		s := tensor.Format{Type: tensor.F32, Code: tensor.FP8}.Make(tensor.Shape{out, in}, func(n int64) []byte { return make([]byte, n) })
		for i := range s.Data {
			s.Data[i] = byte(d.r.Uint32()) &^ 8 // no NaN among them
		}
		for o := range out {
			binary.LittleEndian.PutUint32(s.Scales.Absmax[4*o:], math.Float32bits(float32(1e-4*d.r.ExpFloat64())))
		}
		w, err := d.b.Weight(s)
		if err != nil {
			t.Fatal(err)
		}
		return &ops.Linear{W: w}
	}
	for _, c := range [][3]int{{1, 64, 96}, {300, 128, 352}, {1000, 4096, 11008}, {77, 256, 28672}} {
		n, width, f := c[0], c[1], c[2]
		gate, up, down := weight(f, width), weight(f, width), weight(width, f)
		infinite := func(v []uint16) { v[len(v)-1] = 0x7f80 }
		g, vg := d.matrix(n, f, nil)
		u, vu := d.matrix(n, f, nil)
		dh, _ := d.matrix(n, f, infinite)
		res, _ := d.matrix(n, width, nil)
		h, _ := d.matrix(n, f, nil)
		y, _ := d.matrix(n, width, infinite)
		dx, _ := d.matrix(n, width, infinite)
		var got, want [2][]uint16
		d.b.SwiGLUForward(h, g, u)
		d.b.LinearForward(h, ops.Tensor{}, []ops.Proj{{L: down, Y: y, Res: res}})
		want[0] = d.read(y)
		if !d.b.GatedForward(h, g, u, ops.Proj{L: down, Y: y, Res: res}) {
			t.Fatalf("%v: not done", c)
		}
		got[0] = d.read(y)
		grads := []ops.ProjGrad{{L: gate, DY: g}, {L: up, DY: u}}
		d.b.SwiGLUBackward(g, u, dh, g, u)
		d.b.LinearBackward(dx, ops.Tensor{}, ops.Tensor{}, grads)
		want[1] = d.read(dx)
		d.b.Upload(g, asBytes(vg))
		d.b.Upload(u, asBytes(vu))
		if !d.b.GatedBackward(dx, dh, grads[0], grads[1]) {
			t.Fatalf("%v: not done backward", c)
		}
		got[1] = d.read(dx)
		for i := range got {
			if !bytes.Equal(asBytes(got[i]), asBytes(want[i])) {
				t.Errorf("%v: other bits, part %d", c, i)
			}
		}
		if finite := tensor.BF16ToF32(want[1][0]); n > 1 && !(math.Abs(float64(finite)) < 1e6) {
			t.Errorf("%v: %v", c, finite)
		}
	}
	one := ops.Tensor{Shape: tensor.Shape{1, 16}}
	if d.b.MultiplyFP8(false); d.b.GatedForward(one, one, one, ops.Proj{L: weight(16, 16), Y: one}) {
		t.Error("done where weights are made wide")
	}
	if err := d.b.FreeWeights(); err != nil {
		t.Fatal(err)
	}
}

// How fast rows become floats of 8 bits, and products are, at the sizes of a layer of LLaMA-2 7B and 70B.
func BenchmarkFP8(bench *testing.B) {
	b := open(bench)
	if err := b.MultiplyFP8(true); err != nil {
		bench.Skip(err)
	}
	for _, c := range [][3]int{{32768, 4096, 4096}, {32768, 4096, 11008}, {32768, 11008, 4096}, {16384, 8192, 28672}, {16384, 28672, 8192}} {
		n, in, out := c[0], c[1], c[2]
		take := func(bytes int) unsafe.Pointer {
			p, err := b.Reserve(ops.Device, int64(bytes), "benchmark")
			if err != nil {
				bench.Fatal(err)
			}
			bench.Cleanup(func() { b.Free(ops.Device, p, int64(bytes)) })
			return p
		}
		r := rand.New(rand.NewPCG(1, 2))
		random := func(rows, cols int) ops.Tensor {
			x := ops.Tensor{P: take(2 * rows * cols), DType: tensor.BF16, Shape: tensor.Shape{rows, cols}}
			v := make([]uint16, rows*cols)
			for i := range v {
				v[i] = tensor.F32ToBF16(float32(r.Uint32())*0x1p-32 - 0.5)
			}
			b.Upload(x, asBytes(v))
			return x
		}
		x, y, w := random(n, in), random(n, out), random(out, in)
		w8, f, sx := take(in*out), take(4*out), take(4*n)
		x8 := take(n * max(in, out))
		b.enter()
		b.narrow(w8, f, w, nil)
		b.leave()
		eight := ops.Weight{Shape: tensor.Shape{out, in}, Format: tensor.Format{Type: tensor.F32, Code: tensor.FP8}, P: w8,
			Scales: ops.Scales{Absmax: f}}
		run := func(name string, unit string, each float64, f func()) {
			bench.Run(fmt.Sprintf("%d,%d,%d/%s", n, in, out, name), func(bench *testing.B) {
				f()
				if err := b.Sync(); err != nil {
					bench.Fatal(err)
				}
				bench.ResetTimer()
				for range bench.N { // Loop would not wait for the device
					f()
				}
				if err := b.Sync(); err != nil {
					bench.Fatal(err)
				}
				bench.ReportMetric(each*float64(bench.N)/bench.Elapsed().Seconds(), unit)
			})
		}
		flops := 2 * float64(n) * float64(in) * float64(out) / 1e12
		none := ops.Tensor{}
		run("narrow", "GB/s", 3*float64(n)*float64(in)/1e9, func() { b.enter(); b.narrow(x8, sx, x, nil); b.leave() })
		run("narrow-scaled", "GB/s", 3*float64(n)*float64(out)/1e9, func() { b.enter(); b.narrow(x8, sx, y, f); b.leave() })
		plain := &ops.Linear{W: ops.WeightOf(w)}
		run("bf16", "TFLOP/s", flops, func() { b.LinearForward(x, none, []ops.Proj{{L: plain, Y: y}}) })
		run("bf16-back", "TFLOP/s", flops, func() { b.LinearBackward(x, none, none, []ops.ProjGrad{{L: plain, DY: y}}) })
		for _, fast := range []bool{false, true} {
			l := &ops.Linear{W: eight}
			how := map[bool]string{false: "fp8", true: "fp8-fast"}[fast]
			run(how, "TFLOP/s", flops, func() { b.fast = fast; b.LinearForward(x, none, []ops.Proj{{L: l, Y: y}}) })
			run(how+"-back", "TFLOP/s", flops, func() { b.fast = fast; b.LinearBackward(x, none, none, []ops.ProjGrad{{L: l, DY: y}}) })
		}
	}
}
