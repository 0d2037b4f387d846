package optest_test

import (
	"math"
	"strings"
	"testing"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
)

// wrong is a backend that does one thing wrong.
type wrong struct {
	*cpu.Backend
	how   string
	calls int
}

func (w *wrong) SwiGLUForward(h, g, u ops.Tensor) {
	w.calls++
	w.Backend.SwiGLUForward(h, g, u)
	poke := func(t ops.Tensor, i int) { *(*float32)(unsafe.Add(t.P, 4*i)) = 0.5 }
	switch w.how {
	case "value":
		poke(h, h.Elems()-1)
	case "input":
		poke(u, 0)
	case "before":
		poke(h, -1)
	case "behind":
		poke(h, h.Elems())
	case "bits":
		if w.calls%2 == 0 {
			h.F32()[0] *= 1 + 2e-7
		}
	case "nothing written":
		for i := range h.F32() {
			h.F32()[i] = float32(math.NaN())
		}
	case "panic":
		panic("on purpose")
	}
}

// The judge sees each kind of fault.
func TestFaultsAreSeen(t *testing.T) {
	for how, says := range map[string]string{"value": "is off by", "input": "changed its input", "before": "wrote before", "behind": "wrote b",
		"bits": "other bits", "nothing written": "NaN", "panic": "on purpose", "": ""} {
		bad := ""
		for _, r := range optest.Run(&wrong{Backend: cpu.New(1), how: how}, "swiglu", nil) {
			if !r.OK() {
				bad += r.String() + "\n"
			}
		}
		if how == "" && bad != "" {
			t.Errorf("a right backend: %s", bad)
		}
		if !strings.Contains(bad, says) {
			t.Errorf("%s: the judge says %q", how, bad)
		}
	}
}

// A backend that does everything plainly in bfloat16 is within the limits that this gives, but for linear layers, of
// which it makes several operations.
func TestPlainIsWithinItsLimits(t *testing.T) {
	for _, op := range optest.Ops() {
		if op == "linear" {
			continue
		}
		for _, r := range optest.Run(optest.Plain(cpu.New(2)), op, nil) {
			if !r.OK() {
				t.Error(r)
			}
		}
	}
}
