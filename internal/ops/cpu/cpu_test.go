package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
	"longlora/internal/ops/optest"
	"longlora/internal/tensor"
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
		b.LinearForward(x.Rows(0, rows), ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: w}, Y: y.Rows(0, rows)}})
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

// Every float16, as 32 equal weights and one: products by ones are 32 times the value, and it.
func TestHalves(t *testing.T) {
	for s := kernels.Plain; s <= kernels.Best(); s++ {
		b := NewSet(2, s)
		matrix := func(d tensor.DType, m, n int) ops.Tensor {
			p, err := b.Reserve(ops.Device, int64(d.Size()*m*n), "test")
			if err != nil {
				t.Fatal(err)
			}
			return ops.Tensor{P: p, DType: d, Shape: tensor.Shape{m, n}}
		}
		for _, n := range []int{32, 1} {
			x, w, y := matrix(tensor.F32, 1, n), matrix(tensor.F16, 1<<16, n), matrix(tensor.F32, 1, 1<<16)
			for i := range n {
				x.F32()[i] = 1
			}
			for i := range w.Half() {
				w.Half()[i] = uint16(i / n)
			}
			b.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: w}, Y: y}})
			for h, got := range y.F32() {
				e, m := h>>10&31, float64(h&0x3ff)
				want := math.Ldexp(1+m/1024, e-15)
				switch {
				case e == 0:
					want = math.Ldexp(m, -24)
				case e == 31 && m > 0:
					want = math.NaN()
				case e == 31:
					want = math.Inf(1)
				}
				if h>>15 == 1 {
					want = -want
				}
				if want *= float64(n); float64(got) != want && !(math.IsNaN(want) && math.IsNaN(float64(got))) {
					t.Fatalf("%s: %d times %#04x is %g, want %g", s, n, h, got, want)
				}
			}
		}
	}
}
