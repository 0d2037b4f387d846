package cpu

import (
	"context"
	"testing"
	"time"
	"unsafe"

	kernels "longlora/csrc/cpu"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// A single product or attention of any size ends soon after ctx does; what is computed afterwards is whole again.
func TestHeed(t *testing.T) {
	const n, c, most = 30000, 512, 2 * time.Second
	for s := kernels.Plain; s <= kernels.Best(); s++ {
		b := NewSet(2, s)
		matrix := func(shape ...int) ops.Tensor {
			sh := tensor.Shape(shape)
			p, err := b.Reserve(ops.Device, int64(4*sh.Elems()), "test")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Free(ops.Device, p, int64(4*sh.Elems())) })
			return ops.Tensor{P: p, DType: tensor.F32, Shape: sh}
		}
		x, w := matrix(n, c), matrix(n, c)
		y := ops.Tensor{P: unsafe.Pointer(x.P), DType: tensor.F32, Shape: x.Shape} // overwritten: only time counts
		q, kv, dkv, lse := matrix(n, 8, 64), matrix(n, 1, 64), matrix(n, 1, 64), matrix(8, n)
		a := &ops.Attn{H: 8, Hkv: 1, D: 64, Scale: 1, Spec: s2attn.Spec{Mode: s2attn.Full}, Docs: []int32{0, n},
			Q: q, K: kv, V: kv, O: q, LSE: lse, DQ: q, DK: dkv, DV: dkv, DO: q, Delta: lse}
		var ctxDone <-chan struct{}
		for name, op := range map[string]func(){
			"a product": func() {
				for range 1000 { // as a step goes on
					b.LinearForward(x, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: ops.WeightOf(w.Rows(0, c))}, Y: y}})
				}
			},
			"a long sum": func() { // of elements that are all the first one; the plain kernels would turn it over in memory
				if !kernels.Cgo {
					<-ctxDone
					return
				}
				b.gemm(8, 16, kernels.Gemm{C: lse.P}, kernels.Term{A: x.P, ARS: 0, ACS: 1, Alpha: 1, B: floats(x.P), BRS: 0, BCS: 1, K: 1 << 36})
			},
			"attention":            func() { b.AttnForward(a) },
			"attention's gradient": func() { b.AttnBackward(a) },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			ctxDone = ctx.Done()
			done := b.Heed(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			begun := time.Now()
			op()
			done()
			if took := time.Since(begun); took > most || ctx.Err() == nil {
				t.Errorf("%s, %s: took %v", s, name, took)
			}
			cancel()
		}
		one, two, out := matrix(1000, 300), matrix(700, 300), matrix(1000, 700)
		for i := range one.F32() {
			one.F32()[i] = 1
		}
		for i := range two.F32() {
			two.F32()[i] = 2
		}
		b.LinearForward(one, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: ops.WeightOf(two)}, Y: out}})
		for i, v := range out.F32() {
			if v != 600 {
				t.Fatalf("%s: element %d is %v after Heed, not 600", s, i, v)
			}
		}
	}
}
