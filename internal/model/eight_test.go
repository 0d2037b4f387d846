package model_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/testkit/backend"
)

// passed is what a step of a model leaves: the residual stream by layer, its gradient, the parameters' gradients.
type passed struct {
	streams, grads [][]float32
	loss           float64
}

// eightLayers is the depth of the shape that is tried: LLaMA-2 7B's, all of it unless tests are to be short.
func eightLayers() int {
	if testing.Short() {
		return 4
	}
	return 32
}

// passOf does a step of LLaMA-2 7B's shape, of random weights that are held so.
func passOf(t *testing.T, be ops.Backend, held string, n int) (p passed) {
	t.Helper()
	d := model.Desc{C: 4096, F: 11008, L: eightLayers(), H: 32, Hkv: 32, D: 128, V: 2048, Eps: 1e-5}
	arena := func(s ops.Space, bytes int64) *ops.Arena {
		a, err := ops.NewArena(be, "test", s, bytes)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Free(be) })
		return a
	}
	tr := lora.Fresh{Embed: true, Norms: true, Rank: 8, Alpha: 16, Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj"}}.Train(d)
	w := load.NewStandIn(d, false, held)
	if err := w.Fill(1); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	m, err := w.New(be, tr, model.Memory{Params: arena(ops.Device, 2<<30)}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Params.List {
		if strings.HasSuffix(p.Name, "lora_B.weight") {
			v := make([]float32, p.Value.Elems())
			for i := range v {
				v[i] = float32(0.01 * r.NormFloat64())
			}
			m.Params.Set(p, v)
		}
	}
	b := &model.Batch{Docs: []int32{0, int32(n)}}
	for range n {
		b.IDs, b.Targets = append(b.IDs, int32(r.IntN(d.V))), append(b.Targets, int32(r.IntN(d.V)))
	}
	inv := make([]float32, d.D/2)
	for i := range inv {
		inv[i] = float32(math.Pow(10000, -2*float64(i)/float64(d.D)))
	}
	run := model.NewRunner(m, be, s2attn.Spec{Mode: s2attn.Split, Group: n / 4}, model.Rope{Inv: inv, Scale: 1},
		model.Tiling{Tile: n, MLPRows: n, HeadRows: n}, arena(ops.Device, int64(d.L+6)*int64(n)*(100<<10)), arena(ops.Host, 1<<20))
	m.Params.ZeroGrad()
	run.Streams(b, 1/float32(n), func(x ops.Tensor) {
		v := make([]uint16, x.Elems())
		if err := be.Download(unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 2*len(v)), x); err != nil {
			t.Fatal(err)
		}
		wide := make([]float32, len(v))
		for i, u := range v {
			wide[i] = tensor.BF16ToF32(u)
		}
		p.streams = append(p.streams, wide)
	})
	if p.loss, err = run.Loss(); err != nil {
		t.Fatal(err)
	}
	p.loss /= float64(n)
	for _, x := range m.Params.List {
		g, err := m.Params.Get(x.Grad)
		if err != nil {
			t.Fatal(err)
		}
		p.grads = append(p.grads, g)
	}
	if err := m.Release(); err != nil {
		t.Fatal(err)
	}
	return p
}

// off is ‖a−b‖/‖b‖.
func off(a, b []float32) float64 {
	d, s := 0.0, 0.0
	for i := range a {
		x := float64(a[i]) - float64(b[i])
		d, s = d+x*x, s+float64(b[i])*float64(b[i])
	}
	return math.Sqrt(d / s)
}

// Layer by layer a step of a real shape whose weights are multiplied in FP8 is no further from one in bfloat16 than 1.6
// times what holding them in FP8 costs by itself, and is the same bits the second time. All layers have equal weights,
// so that what quantising does to them adds up as it would not in a model that was trained.
func TestStepsFP8(t *testing.T) {
	for _, be := range backend.GPU(t) {
		card := be.(ops.Card)
		n := 2048
		of := func(held string, eight bool) passed {
			if err := card.MultiplyFP8(eight); err != nil {
				t.Skip(err)
			}
			return passOf(t, be, held, n)
		}
		plain, wide, eight, again := of("", false), of("fp8", false), of("fp8", true), of("fp8", true)
		if err := card.MultiplyFP8(false); err != nil {
			t.Fatal(err)
		}
		same := func(a, b [][]float32) bool {
			for i := range a {
				x, y := a[i], b[i]
				if !bytes.Equal(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)), unsafe.Slice((*byte)(unsafe.Pointer(&y[0])), 4*len(y))) {
					return false
				}
			}
			return true
		}
		if !same(eight.streams, again.streams) || !same(eight.grads, again.grads) || eight.loss != again.loss {
			t.Error("other bits the second time")
		}
		t.Logf("loss: bfloat16 %.6f, fp8 made wide %.6f, in FP8 %.6f", plain.loss, wide.loss, eight.loss)
		half := len(plain.streams) / 2
		for i := range plain.streams {
			what, l := "stream before layer", i
			if i >= half {
				what, l = "its gradient there", 2*half-1-i
			}
			a, b := off(wide.streams[i], plain.streams[i]), off(eight.streams[i], plain.streams[i])
			t.Logf("%s %d: made wide off by %.4f, in FP8 by %.4f", what, l, a, b)
			if !(b <= 1.6*a+0.005) {
				t.Errorf("%s %d: off by %v from bfloat16's, made wide by %v", what, l, b, a)
			}
		}
		var most [2]float64 // NaN stays
		for i := range plain.grads {
			most[0], most[1] = max(most[0], off(wide.grads[i], plain.grads[i])), max(most[1], off(eight.grads[i], plain.grads[i]))
		}
		t.Logf("gradients of parameters: made wide off by at most %.4f, in FP8 by %.4f", most[0], most[1])
		if !(most[1] <= 1.6*most[0]) {
			t.Errorf("gradients of parameters: off by %v, made wide by %v", most[1], most[0])
		}
		if !(math.Abs(eight.loss-plain.loss) < 0.005*plain.loss) {
			t.Errorf("loss %v, in bfloat16 %v", eight.loss, plain.loss)
		}
	}
}

// gating is a backend that does SwiGLU in one with the layers beside it, and leaves NaN where nothing is of use then.
type gating struct {
	ops.Backend
	forward, back *int
}

func (b gating) GatedForward(h, g, u ops.Tensor, p ops.Proj) bool {
	if !p.L.Alone() {
		return false
	}
	b.SwiGLUForward(h, g, u)
	b.LinearForward(h, ops.Tensor{}, []ops.Proj{p})
	spoil(h)
	*b.forward++
	return true
}

func (b gating) GatedBackward(dx, dh ops.Tensor, gate, up ops.ProjGrad) bool {
	if !gate.L.Alone() || !up.L.Alone() {
		return false
	}
	b.SwiGLUBackward(gate.DY, up.DY, dh, gate.DY, up.DY)
	b.LinearBackward(dx, ops.Tensor{}, ops.Tensor{}, []ops.ProjGrad{gate, up})
	spoil(gate.DY, up.DY)
	*b.back++
	return true
}

func spoil(ts ...ops.Tensor) {
	for _, x := range ts {
		for i := range x.F32() {
			x.F32()[i] = float32(math.NaN())
		}
	}
}

// A backend may do SwiGLU and the layers beside it as one, and need leave nothing of what lies between: gradients are the
// same bits, whatever a layer keeps.
func TestGated(t *testing.T) {
	c := attendings()[0]
	for _, tl := range []model.Tiling{{Tile: 70, MLPRows: 70}, {Tile: 70, MLPRows: 32, Keep: model.KeepAttn}, {Tile: 32, MLPRows: 32, Keep: model.KeepInput}} {
		tl.HeadRows = 32
		want, loss := gradients(t, cpu.New(2), c, tl)
		var forward, back int
		got, l := gradients(t, gating{cpu.New(2), &forward, &back}, c, tl)
		if what := differ(got, want); what != "" || l != loss {
			t.Errorf("%+v: loss %g, want %g; %s", tl, l, loss, what)
		}
		if forward == 0 || back == 0 || forward <= back { // more layers have no low-rank term on the last matrix than on the first two
			t.Errorf("%+v: done %d times forward and %d times back", tl, forward, back)
		}
	}
}
