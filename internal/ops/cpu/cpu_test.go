package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"longlora/csrc"
	"longlora/internal/ops"
	"longlora/internal/ops/optest"
	"longlora/internal/tensor"
)

// Every operation against float64, on every instruction set that this machine has.
func TestOps(t *testing.T) {
	for s := csrc.Plain; s <= csrc.Best(); s++ {
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
}
