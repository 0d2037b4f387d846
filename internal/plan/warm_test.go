package plan

import (
	"testing"

	"longlora/internal/model"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
)

// The warm-up is a real step: what a batch to count may lack, it needs.
func TestWarm(t *testing.T) {
	w := warming
	w.Desc = model.Desc{C: 32, F: 48, L: 1, H: 4, Hkv: 4, D: 8, V: 64, Eps: 1e-5}
	w.Ctx, w.Spec = 64, s2attn.Spec{Mode: s2attn.Split, Group: 16}
	if err := warm(cpu.New(2), w); err != nil {
		t.Fatal(err)
	}
}
