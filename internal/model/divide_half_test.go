package model_test

import (
	"sync"
	"testing"

	"longlora/internal/dist"
	"longlora/internal/model"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
)

// In bfloat16, where gradients of keys and values take the place of those, two ranks are as far from float32 as one is, in
// tiles too, whatever is kept and in every family.
func TestDividedInHalfPrecision(t *testing.T) {
	all := families()
	all["small"] = small
	for name, d := range all {
		for i, keep := range []model.Keep{model.KeepAll, model.KeepAttn, model.KeepOut, model.KeepInput} {
			spec := []s2attn.Spec{{Mode: s2attn.Split, Group: 9}, {Mode: s2attn.Full}}[i%2]
			b, tr := randomBatch(uint64(i), d.V, false, 13, 28), adapted(d, 0)
			tl := model.Tiling{Tile: 41, Keep: keep, MLPRows: 6, HeadRows: 5}
			r, ps := setUp(t, d, tr, spec, tl)
			_, exact := step(t, r, ps, 1, b)
			r, ps = setUpOn(t, optest.Plain(cpu.New(1)), d, tr, spec, tl)
			_, one := step(t, r, ps, 1, b)
			for _, tl.Tile = range []int{41, 8, 3} {
				got := two(t, d, tr, spec, tl, b)
				for j, p := range ps.List {
					off, yard := testkit.Relative(got[j], exact[j]), testkit.Relative(one[j], exact[j])
					if !(off <= 2*yard+0.02) {
						t.Errorf("%s, keeping %s, tile %d: the gradient of %s is off by %g, one process's by %g", name, keep, tl.Tile, p.Name, off, yard)
					}
				}
			}
		}
	}
}

// two has a chain of two ranks do a step in bfloat16: the sums of their gradients.
func two(t *testing.T, d model.Desc, tr model.Train, spec s2attn.Spec, tl model.Tiling, b *model.Batch) [][]float32 {
	t.Helper()
	var got [2][][]float32
	var wg sync.WaitGroup
	for rank, g := range dist.InProcess(2) {
		be := optest.Plain(cpu.New(1))
		r, ps := setUpOn(t, be, d, tr, spec, tl)
		if err := g.Divide(2); err != nil {
			t.Fatal(err)
		}
		c := g.NewChain(be)
		r.Division = model.Division{Rank: rank, Size: 2, Link: c}
		wg.Go(func() {
			_, got[rank] = step(t, r, ps, 1, b)
			c.Close()
		})
	}
	wg.Wait()
	for i := range got[0] {
		for j := range got[0][i] {
			got[0][i][j] += got[1][i][j]
		}
	}
	return got[0]
}
