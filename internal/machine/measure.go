package machine

import (
	"sync"
	"time"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// calibration is a set of small operations: long enough to run at full rate, short enough to take some hundredths of a
// second in all.
type calibration struct {
	tokens             []int         // of one try after another, the most of them last
	limit              time.Duration // no try is begun after this long; 0 for none
	width, heads, head int

	x, w, y, y2, y3, q, k, v, o, dq, dk, dv, lse, delta, work ops.Tensor
}

// Sizes that fill a CPU's caches, and all multiprocessors of a GPU. Kernels that are slow, as those without C are,
// end with the first try.
var (
	calCPU = calibration{tokens: []int{128, 512, 512, 512}, limit: 25 * time.Millisecond, width: 512, heads: 8, head: 64}
	calGPU = calibration{tokens: []int{8192, 8192, 8192}, width: 4096, heads: 32, head: 128}
)

const (
	calTries = 3        // of the copy
	calMoved = 64 << 20 // bytes copied from host memory
)

// take takes the tensors' memory for so many tokens.
func (k *calibration) take(a *ops.Arena, act tensor.DType, tokens int) {
	wide := func() ops.Tensor { return a.New(act, tokens, 4*k.width) }
	heads := func(d tensor.DType) ops.Tensor { return a.New(d, tokens, k.heads, k.head) }
	k.x, k.w, k.y, k.y2, k.y3 = a.New(act, tokens, k.width), a.New(act, 4*k.width, k.width), wide(), wide(), wide()
	k.q, k.k, k.v, k.o, k.dq = heads(act), heads(act), heads(act), heads(act), heads(act)
	k.dk, k.dv = heads(tensor.F32), heads(tensor.F32)
	k.lse, k.delta = a.New(tensor.F32, k.heads, tokens), a.New(tensor.F32, k.heads, tokens)
	if act != tensor.F32 {
		k.work = a.New(tensor.F32, int(ops.AttnWork(tokens, k.heads, k.head)/4))
	}
}

// attn is attention over so many tokens.
func (k *calibration) attn(tokens int) *ops.Attn {
	return &ops.Attn{H: k.heads, Hkv: k.heads, D: k.head, Scale: 0.125, Spec: s2attn.Spec{Mode: s2attn.Full},
		Docs: []int32{0, int32(tokens)},
		Q:    k.q, K: k.k, V: k.v, O: k.o, LSE: k.lse, DO: k.q, DQ: k.dq, DK: k.dk, DV: k.dv, Delta: k.delta, Work: k.work}
}

// try is the seconds of a product, of attention and of an operation on elements.
func (k *calibration) try(b ops.Backend, tokens int) (s [3]float64, err error) {
	a := k.attn(tokens)
	for i, f := range []func(){
		func() {
			b.LinearForward(k.x, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: ops.WeightOf(k.w)}, Y: k.y}})
		},
		func() {
			b.AttnForward(a)
			b.AttnBackward(a)
		},
		func() { b.SwiGLUForward(k.y, k.y2, k.y3) },
	} {
		if s[i], err = timed(b, f); err != nil {
			return s, err
		}
	}
	return s, nil
}

// calibrate measures the backend's rates on small operations, each the best of a few tries.
func calibrate(b ops.Backend) (ops.Rates, error) {
	k, r := calCPU, cpuRates
	_, card := b.(ops.Card)
	if card {
		k, r = calGPU, byName("a100").rates
	}
	most := k.tokens[len(k.tokens)-1]
	count := ops.CountingArena("calibration", ops.Device)
	k.take(count, b.Act(), most)
	arena, err := ops.NewArena(b, "calibration", ops.Device, count.Peak())
	if err != nil {
		return r, err
	}
	defer arena.Free(b)
	empty := arena.Mark()
	k.take(arena, b.Act(), most)
	b.SwiGLUForward(k.y, k.y2, k.y3) // memory that was never touched is slow
	arena.Release(empty)
	var best ops.Rates
	for begun, i := time.Now(), 0; i < len(k.tokens); i++ {
		if i > 0 && k.limit > 0 && time.Since(begun) > k.limit {
			break
		}
		n := k.tokens[i]
		k.take(arena, b.Act(), n)
		s, err := k.try(b, n)
		if err != nil {
			return r, err
		}
		arena.Release(empty)
		c := ops.NewCounter(b.Act(), 0, r)
		c.SwiGLUForward(k.y, k.y2, k.y3)
		best.Linear = max(best.Linear, 2*float64(n)*float64(k.width)*4*float64(k.width)/s[0])
		best.Attention = max(best.Attention, 14*float64(k.head)*k.attn(n).Pairs(n)/s[1])
		best.Bytes = max(best.Bytes, c.Cost.Bytes/s[2])
	}
	r.Linear, r.Attention, r.Bytes, r.Moved = best.Linear, best.Attention, best.Bytes, best.Bytes
	if card {
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
	var best float64
	for try := range calTries {
		s, err := timed(b, func() { b.Wait(b.Fetch(to, from, ops.Whole(from))) })
		if err != nil {
			return 0, err
		}
		if try == 0 || s < best {
			best = s
		}
	}
	return calMoved / best, nil
}

// timed are the seconds that f takes.
func timed(b ops.Backend, f func()) (float64, error) {
	t := time.Now()
	f()
	err := b.Sync()
	return time.Since(t).Seconds(), err
}

// measured are the rates of this process's backends: all that is predicted in a process is predicted by the same ones.
var measured = struct {
	sync.Mutex
	rates map[kernels]ops.Rates
}{rates: map[kernels]ops.Rates{}}

// kernels tells backends apart: the same code on as many threads has the same name and workspace.
type kernels struct {
	name      string
	workspace int64
}

// rates measures a backend's rates, once.
func rates(b ops.Backend) (ops.Rates, error) {
	measured.Lock()
	defer measured.Unlock()
	k := kernels{b.Name(), b.WorkspaceBytes()}
	if r, ok := measured.rates[k]; ok {
		return r, nil
	}
	r, err := calibrate(b)
	if err == nil {
		measured.rates[k] = r
	}
	return r, err
}
