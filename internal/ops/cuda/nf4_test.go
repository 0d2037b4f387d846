//go:build cuda

package cuda

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// Parts of matrices in NF4 are made wide to the bits that quant decodes, rounded to bfloat16, and nothing beside them is
// written: with eight elements an access and one by one, factors as float32 and nested, blocks of any length.
func TestWidenNF4(t *testing.T) {
	d := &bed{t, open(t), rand.New(rand.NewPCG(7, 8))}
	numbers := func(n int, size float32) []byte {
		v := make([]float32, n)
		for i := range v {
			v[i] = (2*d.r.Float32() - 1) * size
		}
		b := make([]byte, 4*n)
		tensor.Store(b, v, tensor.F32)
		return b
	}
	random := func(n int64) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(d.r.Uint32())
		}
		return b
	}
	const guard, poison = 256, 0x7fc1
	for _, typ := range []tensor.DType{tensor.F32, tensor.BF16, tensor.F16} {
		for _, f := range [][2]int{{64, 0}, {64, 256}, {64, 3}, {4096, 256}, {48, 0}, {48, 5}} {
			for _, c := range []struct{ out, in, lo, c0, rows, cols int }{
				{40, 128, 0, 0, 40, 128}, {40, 128, 7, 64, 20, 64}, {37, 77, 3, 5, 30, 61}, {33, 130, 1, 2, 32, 128}, {70000, 8, 0, 0, 70000, 8}, {5, 9000, 0, 8, 5, 8992},
			} {
				s := tensor.Stored{Format: tensor.Format{Type: typ, Code: tensor.NF4, Block: f[0], Nested: f[1]}, Shape: tensor.Shape{c.out, c.in}}
				p, _ := s.Format.Parts(s.Shape)
				s.Data, s.Scales = random(p.Data), tensor.Scales{Map: numbers(16, 1), Absmax: numbers(int(p.Absmax/4), 1)}
				if f[1] > 0 {
					s.Scales = tensor.Scales{Map: s.Scales.Map, Absmax: random(p.Absmax), NestedMap: numbers(256, 1), NestedAbsmax: numbers(int(p.NestedAbsmax/4), 0.1), Offset: 0.03}
				}
				w, err := d.b.Weight(s)
				if err != nil {
					t.Fatal(err)
				}
				n := c.rows * c.cols
				all := ops.Tensor{P: d.room(2 * (n + 2*guard)), DType: tensor.BF16, Shape: tensor.Shape{n + 2*guard}}
				before := make([]uint16, n+2*guard)
				for i := range before {
					before[i] = poison
				}
				d.b.Upload(all, asBytes(before))
				d.b.enter()
				d.b.widenNF4(ops.Tensor{P: unsafe.Add(all.P, 2*guard), DType: tensor.BF16, Shape: tensor.Shape{c.rows, c.cols}}, w, c.lo, c.c0)
				d.b.leave()
				values, got := make([]float32, c.out*c.in), d.read(all)
				quant.Decode(values, s, 0)
				wrong := 0
				for i, u := range got {
					want := uint16(poison)
					if k := i - guard; k >= 0 && k < n {
						want = tensor.F32ToBF16(values[(c.lo+k/c.cols)*c.in+c.c0+k%c.cols])
					}
					if u != want {
						wrong++
					}
				}
				if wrong > 0 {
					t.Errorf("%v, %+v: %d elements are wrong", s.Format, c, wrong)
				}
				if err := d.b.FreeWeights(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
