package plan

import (
	"time"

	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// ChipCPU are round figures for choosing between plans on a CPU; only their proportions matter there.
var ChipCPU = ops.Rates{Linear: 1e11, Attention: 6e10, Bytes: 1e10, Moved: 1e10, Call: 2e-6}

// Seconds predicts an optimizer step of accum micro-batches.
func (p Plan) Seconds(r ops.Rates, accum int) float64 {
	return float64(accum)*r.Seconds(p.Cost) + r.Seconds(p.Optimizer)
}

// calibration shapes: long enough to run at full rate, short enough to take about a tenth of a second in all.
const (
	calTokens = 512
	calWidth  = 512
	calHeads  = 8
	calHead   = 64
	calTries  = 3
)

// Calibrate measures the backend's rates on small operations, each the best of a few tries.
func Calibrate(b ops.Backend) (ops.Rates, error) {
	count := ops.CountingArena("calibration", ops.Device)
	newCalibration(count, b.Act())
	arena, err := ops.NewArena(b, "calibration", ops.Device, count.Peak())
	if err != nil {
		return ops.Rates{}, err
	}
	defer arena.Free(b)
	k := newCalibration(arena, b.Act())
	r := ChipCPU
	a := &ops.Attn{H: calHeads, Hkv: calHeads, D: calHead, Scale: 0.125, Spec: s2attn.Spec{Mode: s2attn.Full}, Docs: []int32{0, calTokens}}
	var best [3]float64
	for try := range calTries {
		for i, f := range []func(){
			func() { b.LinearForward(k.x, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: k.w}, Y: k.y}}) },
			func() {
				b.AttnForward(k.o, k.lse, k.q, k.k, k.v, a)
				b.AttnBackward(k.dq, k.dk, k.dv, k.q, k.o, k.q, k.k, k.v, k.lse, k.delta, a)
			},
			func() { b.SwiGLUForward(k.y, k.y2, k.y3) },
		} {
			t := time.Now()
			f()
			if err := b.Sync(); err != nil {
				return ops.Rates{}, err
			}
			if s := time.Since(t).Seconds(); try == 0 || s < best[i] {
				best[i] = s
			}
		}
	}
	c := ops.NewCounter(b.Act(), 0, r)
	r.Linear = 2 * calTokens * calWidth * 4 * calWidth / best[0]
	r.Attention = 14 * calHead * a.Pairs(calTokens) / best[1]
	c.SwiGLUForward(k.y, k.y2, k.y3)
	r.Bytes = c.Cost.Bytes / best[2]
	r.Moved = r.Bytes
	return r, nil
}

type calibration struct {
	x, w, y, y2, y3, q, k, v, o, dq, dk, dv, lse, delta ops.Tensor
}

func newCalibration(a *ops.Arena, act tensor.DType) calibration {
	wide := func() ops.Tensor { return a.New(act, calTokens, 4*calWidth) }
	heads := func(d tensor.DType) ops.Tensor { return a.New(d, calTokens, calHeads, calHead) }
	return calibration{
		x: a.New(act, calTokens, calWidth), w: a.New(act, 4*calWidth, calWidth), y: wide(), y2: wide(), y3: wide(),
		q: heads(act), k: heads(act), v: heads(act), o: heads(act), dq: heads(act),
		dk: heads(tensor.F32), dv: heads(tensor.F32),
		lse: a.New(tensor.F32, calHeads, calTokens), delta: a.New(tensor.F32, calHeads, calTokens),
	}
}

// StepFlops counts the operations that one optimizer step needs on one row with frozen weights, nothing made
// again: 4 a parameter and token for the linear layers and the head, and attention over half a group's keys,
// forward and 2.5 times that backward. LoRA's own terms are left out (below 1 %).
func StepFlops(d model.Desc, n, group int) float64 {
	p := d.L*(2*d.C*d.H*d.D+2*d.C*d.Hkv*d.D+3*d.C*d.F) + d.C*d.V
	return 4*float64(p)*float64(n) + float64(d.L)*float64(d.H)*float64(n)*float64(group)/2*4*float64(d.D)*3.5
}
