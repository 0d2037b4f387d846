package model_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// families are small models with all that only some families compute.
func families() map[string]model.Desc {
	base := small
	base.Bias = [8]bool{}
	of := func(change func(d *model.Desc)) model.Desc {
		d := base
		change(&d)
		return d
	}
	neox := func(d *model.Desc) {
		d.Arch, d.Hkv, d.Act, d.Rotary = &model.GPTNeoX, d.H, model.GELU, 2
		d.Bias[model.QKV], d.Bias[model.O], d.Bias[model.Gate], d.Bias[model.Down] = true, true, true, true
	}
	return map[string]model.Desc{
		"normed heads": of(func(d *model.Desc) { d.Arch = &model.Qwen3 }),
		"fused":        of(func(d *model.Desc) { d.Arch, d.Rotary = &model.Phi3, 2 }),
		"multiplied": of(func(d *model.Desc) {
			d.Arch, d.EmbedBy, d.ScoresBy, d.BranchBy, d.LogitsBy = &model.Granite, 3, 0.3, 0.4, 0.5
		}),
		"no positions": of(func(d *model.Desc) { d.Arch, d.NoRope = &model.SmolLM3, []bool{true, false} }),
		"normed ends":  of(func(d *model.Desc) { d.Arch = &model.Olmo2 }),
		"parallel":     of(func(d *model.Desc) { neox(d); d.Parallel = true }),
		"in sequence":  of(func(d *model.Desc) { neox(d); d.Act = model.GELUTanh }),
		"capped": of(func(d *model.Desc) {
			d.Arch, d.Tied, d.Act, d.EmbedBy = &model.Gemma2, true, model.GELUTanh, 4
			d.ScoresCap, d.LogitsCap, d.Windows = 2, 3, []int{7, 0}
		}),
	}
}

// Whatever a layer keeps, makes again or moves, gradients have the same bits for one tile length.
func TestFamiliesKeptAndMoved(t *testing.T) {
	for name, d := range families() {
		d.L = 5
		for _, tile := range []int{41, 6} {
			run := func(tl model.Tiling) (float64, [][]float32) {
				tl.Tile, tl.MLPRows, tl.HeadRows = tile, min(tile, 8), 5
				r, ps := setUp(t, d, adapted(d, 0), s2attn.Spec{Mode: s2attn.Split, Group: 9}, tl)
				b := randomBatch(3, d.V, false, 30, 11)
				step(t, r, ps, 0.5, b) // the second step finds the first one's memory
				return step(t, r, ps, 0.5, b)
			}
			loss, grads := run(model.Tiling{Keep: model.KeepAll})
			for _, keep := range []model.Keep{model.KeepAll, model.KeepAttn, model.KeepOut, model.KeepInput} {
				for _, moved := range []int{0, 2} {
					if l, g := run(model.Tiling{Keep: keep, Moved: moved, More: 1}); l != loss || !reflect.DeepEqual(g, grads) {
						t.Errorf("%s, tile %d, keeping %s, %d moved: the loss is %v, want %v, or gradients differ", name, tile, keep, moved, l, loss)
					}
				}
			}
		}
	}
}

// Each tensor of a family has one name, and its linear layers are those that targets select.
func TestTensorsOfFamilies(t *testing.T) {
	for _, a := range model.Archs {
		d := model.Desc{Arch: a, C: 16, F: 20, L: 2, H: 4, Hkv: 4, D: 4, V: 23}
		seen, linear := map[string]bool{}, 0
		for _, s := range d.Tensors() {
			if seen[s.Name] {
				t.Errorf("%s: %s is there twice", a.Class, s.Name)
			}
			if seen[s.Name] = true; s.Linear() {
				linear++
				if !slices.Contains(d.Targets(false), s.Target()) {
					t.Errorf("%s: no target selects %s", a.Class, s.Name)
				}
			}
		}
		if n := len(d.Targets(false)); linear != n*d.L || len(d.Targets(true)) >= n {
			t.Errorf("%s: %d linear layers in %d layers, %d targets", a.Class, linear, d.L, n)
		}
		if model.ArchOf(a.Class) != a {
			t.Errorf("%s is not found by its name", a.Class)
		}
	}
	if got, want := fmt.Sprint(model.Desc{Arch: &model.GPTNeoX}.Targets(true)), "[query_key_value dense]"; got != want {
		t.Errorf("attention's linear layers are %s, want %s", got, want)
	}
}
