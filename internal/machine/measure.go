package machine

import (
	"time"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// calibration is a set of small operations: long enough to run at full rate, short enough to take about a tenth of a
// second in all.
type calibration struct {
	tokens, width, heads, head int

	x, w, y, y2, y3, q, k, v, o, dq, dk, dv, lse, delta, work ops.Tensor
}

// Sizes that fill a CPU's caches, and all multiprocessors of a GPU.
var (
	calCPU = calibration{tokens: 512, width: 512, heads: 8, head: 64}
	calGPU = calibration{tokens: 8192, width: 4096, heads: 32, head: 128}
)

const (
	calTries = 3
	calMoved = 64 << 20 // bytes copied from host memory
)

// take takes the tensors' memory.
func (k *calibration) take(a *ops.Arena, act tensor.DType) {
	wide := func() ops.Tensor { return a.New(act, k.tokens, 4*k.width) }
	heads := func(d tensor.DType) ops.Tensor { return a.New(d, k.tokens, k.heads, k.head) }
	k.x, k.w, k.y, k.y2, k.y3 = a.New(act, k.tokens, k.width), a.New(act, 4*k.width, k.width), wide(), wide(), wide()
	k.q, k.k, k.v, k.o, k.dq = heads(act), heads(act), heads(act), heads(act), heads(act)
	k.dk, k.dv = heads(tensor.F32), heads(tensor.F32)
	k.lse, k.delta = a.New(tensor.F32, k.heads, k.tokens), a.New(tensor.F32, k.heads, k.tokens)
	if act != tensor.F32 {
		k.work = a.New(tensor.F32, int(ops.AttnWork(k.tokens, k.heads, k.head)/4))
	}
}

// calibrate measures the backend's rates on small operations, each the best of a few tries.
func calibrate(b ops.Backend) (ops.Rates, error) {
	k, r := calCPU, cpuRates
	if _, card := b.(ops.Card); card {
		k, r = calGPU, byName("a100").rates
	}
	count := ops.CountingArena("calibration", ops.Device)
	k.take(count, b.Act())
	arena, err := ops.NewArena(b, "calibration", ops.Device, count.Peak())
	if err != nil {
		return r, err
	}
	defer arena.Free(b)
	k.take(arena, b.Act())
	a := &ops.Attn{H: k.heads, Hkv: k.heads, D: k.head, Scale: 0.125, Spec: s2attn.Spec{Mode: s2attn.Full},
		Docs: []int32{0, int32(k.tokens)},
		Q:    k.q, K: k.k, V: k.v, O: k.o, LSE: k.lse, DO: k.q, DQ: k.dq, DK: k.dk, DV: k.dv, Delta: k.delta, Work: k.work}
	seconds, err := fastest(b, func() {
		b.LinearForward(k.x, ops.Tensor{},
			[]ops.Proj{{L: &ops.Linear{W: ops.WeightOf(k.w)}, Y: k.y}})
	},
		func() {
			b.AttnForward(a)
			b.AttnBackward(a)
		},
		func() { b.SwiGLUForward(k.y, k.y2, k.y3) })
	if err != nil {
		return r, err
	}
	c := ops.NewCounter(b.Act(), 0, r)
	r.Linear = 2 * float64(k.tokens) * float64(k.width) * 4 * float64(k.width) / seconds[0]
	r.Attention = 14 * float64(k.head) * a.Pairs(k.tokens) / seconds[1]
	c.SwiGLUForward(k.y, k.y2, k.y3)
	r.Bytes = c.Cost.Bytes / seconds[2]
	if r.Moved = r.Bytes; k.tokens == calGPU.tokens {
		r.Moved, err = moved(b, k.y)
	}
	return r, err
}

// moved is how fast bytes come from host memory.
func moved(b ops.Backend, to ops.Tensor) (float64, error) {
	host, err := ops.NewArena(b, "calibration", ops.Host, calMoved)
	if err != nil {
		return 0, err
	}
	defer host.Free(b)
	from := host.New(to.DType, calMoved/to.DType.Size())
	seconds, err := fastest(b, func() { b.Wait(b.Fetch(to, from, ops.Whole(from))) })
	if err != nil {
		return 0, err
	}
	return calMoved / seconds[0], nil
}

// fastest are the seconds of each function's best try.
func fastest(b ops.Backend, do ...func()) ([]float64, error) {
	best := make([]float64, len(do))
	for try := range calTries {
		for i, f := range do {
			t := time.Now()
			f()
			if err := b.Sync(); err != nil {
				return nil, err
			}
			if s := time.Since(t).Seconds(); try == 0 || s < best[i] {
				best[i] = s
			}
		}
	}
	return best, nil
}
