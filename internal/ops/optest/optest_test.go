package optest_test

import (
	"math"
	"slices"
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

// The judge sees each kind of fault, and calls it by its name in every case.
func TestFaultsAreSeen(t *testing.T) {
	for how, says := range map[string]string{"value": "h is off by ", "input": "changed its input u, byte 0", "before": "wrote before h",
		"behind": "wrote behind the last tensor", "bits": "other bits of h the second time", "nothing written": "h is off by NaN", "panic": "on purpose"} {
		seen := map[string]bool{} // by case
		for _, r := range optest.Run(&wrong{Backend: cpu.New(1), how: how}, "swiglu", nil) {
			if !strings.HasPrefix(r.Case, "forward") {
				continue
			}
			seen[r.Case] = seen[r.Case] || !r.OK() && strings.Contains(r.String(), says)
			if !r.OK() && !strings.Contains(r.String(), says) {
				t.Errorf("%s: the judge says %s", how, r)
			}
		}
		for c, ok := range seen {
			if !ok {
				t.Errorf("%s: not seen in %s", how, c)
			}
		}
		if len(seen) < 3 {
			t.Errorf("%s: %d cases", how, len(seen))
		}
	}
	for _, r := range optest.Run(&wrong{Backend: cpu.New(1)}, "swiglu", nil) {
		if !r.OK() {
			t.Errorf("a right backend: %s", r)
		}
	}
}

// coarse is a bfloat16 backend that drops the last bits of what it gives.
type coarse struct {
	ops.Backend
	bits int
}

func (c coarse) SwiGLUForward(h, g, u ops.Tensor) {
	c.Backend.SwiGLUForward(h, g, u)
	for i := range h.Half() {
		h.Half()[i] &^= 1<<c.bits - 1
	}
}

// A bfloat16 backend is allowed twice what rounding once gives, and no more: two bits cut off are seen.
func TestCoarseIsSeen(t *testing.T) {
	for bits, ok := range map[int]bool{0: true, 2: false, 3: false} {
		judged := 0
		for _, r := range optest.Run(coarse{optest.Plain(cpu.New(1)), bits}, "swiglu", nil) {
			if r.Case == "forward, 130 rows of 688" {
				if judged++; r.OK() != ok {
					t.Errorf("%d bits cut off: %s", bits, r)
				}
			}
		}
		if judged != 1 {
			t.Errorf("%d outputs", judged)
		}
	}
}

// Nothing is not taken for nothing wrong.
func TestUnknownOperation(t *testing.T) {
	if all := optest.Run(cpu.New(1), "atention", nil); len(all) != 1 || all[0].OK() {
		t.Errorf("a name that no operation has: %v", all)
	}
}

// A backend that does everything plainly in bfloat16 is within the limits that this gives, but for linear layers, of
// which it makes several operations.
func TestPlainIsWithinItsLimits(t *testing.T) {
	b := optest.Plain(cpu.New(2))
	for _, op := range optest.Ops() {
		if op == "linear" {
			continue
		}
		for _, r := range optest.Run(b, op, nil) {
			if !r.OK() {
				t.Error(r)
			}
		}
	}
}

// Every operation that is judged can be timed, in both types of activations, and says what its calls amount to.
func TestEveryOpIsTimed(t *testing.T) {
	small := optest.Sizes{T: 40, C: 16, F: 24, H: 4, Hkv: 2, D: 4, V: 70, R: 3, G: 16}
	for _, b := range []ops.Backend{cpu.New(1), optest.Plain(cpu.New(1))} {
		var names []string
		err := optest.Perf(b, small, "", func(l optest.Load) {
			if n := len(names); n == 0 || names[n-1] != l.Op {
				names = append(names, l.Op)
			}
			if (l.Bytes > 0) == (l.Flops > 0) {
				t.Errorf("%s %s: %v bytes, %v operations", l.Op, l.Name, l.Bytes, l.Flops)
			}
			l.Call()
			l.Call()
		})
		if err != nil || !slices.Equal(names, optest.Ops()) {
			t.Errorf("%s: timed are %v, judged %v; %v", b.Name(), names, optest.Ops(), err)
		}
	}
	p, err := optest.MeasurePeak(cpu.New(1), small)
	if err != nil || !(p.Bytes > 1e6 && p.Flops > 1e6) {
		t.Errorf("%+v, %v", p, err)
	}
}
