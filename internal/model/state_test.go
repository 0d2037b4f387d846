package model_test

import (
	"fmt"
	"slices"
	"testing"

	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/testkit/backend"
)

// trainedBits are all trained tensors with their moments, and what operations read, after three updates and after new
// values and moments have been given.
func trainedBits(t *testing.T, be ops.Backend, d model.Desc, tr model.Train, state bool) (names []string, bits [][]float32) {
	t.Helper()
	params, act, host := arenas(t, be, 8<<20)
	mem := model.Memory{Params: params, Piece: 64}
	if state {
		_, _, mem.State = arenas(t, be, 1<<20)
	}
	m, err := model.New(be, d, tr, load.Random(d, 0.2, 1), mem)
	if err != nil {
		t.Fatal(err)
	}
	n := 41
	tl := model.Tiling{Tile: n, MLPRows: n, HeadRows: n, HostState: state}
	r := model.NewRunner(m, be, s2attn.Spec{Mode: s2attn.Split, Group: 9}, rope, tl, act, host)
	ps := m.Params
	take := func(when string) {
		for _, p := range ps.List {
			for i, x := range []ops.Tensor{p.Value, p.Moment1, p.Moment2, p.Grad} {
				what := []string{"value", "first moment", "second moment", "gradient"}[i]
				names, bits = append(names, fmt.Sprintf("%s, %s of %s", when, what, p.Name)), append(bits, values(t, ps, x))
			}
		}
	}
	update := func(s int) {
		b := randomBatch(uint64(s), d.V, false, 30, 11)
		loss, _ := step(t, r, ps, 0.1, b)
		norm, err := ps.GradNorm()
		if err != nil {
			t.Fatal(err)
		}
		ps.Update(ops.AdamW{LR: 0.01, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.1, GradScale: 1 / (1 + norm), Step: s}, 0.02)
		names, bits = append(names, fmt.Sprintf("loss and norm of step %d", s)), append(bits, []float32{float32(loss), float32(norm)})
	}
	for i := range 3 {
		update(i + 1)
	}
	take("after updates")
	for _, p := range ps.List { // as a resumed run does
		v := values(t, ps, p.Value)
		for i := range v {
			v[i] *= 1.25
		}
		ps.Set(p, v)
		ps.SetMoments(p, values(t, ps, p.Moment2), values(t, ps, p.Moment2))
	}
	take("set")
	update(4)
	take("after another update")
	return names, bits
}

// Values and moments of whole matrices that wait in host memory come out as the same bits as those that do not, on a
// device that computes in float32 and on one that computes in bfloat16, and however late copies are done.
func TestStateWaits(t *testing.T) {
	tied := small
	tied.Tied = true
	bf16 := func() ops.Backend { return optest.Plain(cpu.New(2)) }
	f32 := func() ops.Backend { return cpu.New(2) }
	late := func() ops.Backend { return backend.NewLate() }
	type way struct {
		name          string
		plain, judged func() ops.Backend
	}
	ways := []way{{"float32", f32, late}, {"bfloat16", bf16, bf16}}
	for _, b := range backend.GPU(t) {
		ways = append(ways, way{b.Name(), func() ops.Backend { return b }, func() ops.Backend { return b }})
	}
	head := adapted(small, 0)
	head.Whole[small.HeadName()] = true
	for _, be := range ways {
		for what, c := range map[string]struct {
			d  model.Desc
			tr model.Train
		}{"embedding": {small, adapted(small, 0)}, "embedding and head": {small, head}, "tied": {tied, adapted(tied, 0)}, "every weight": {small, model.Train{Full: true}}} {
			names, want := trainedBits(t, be.plain(), c.d, c.tr, false)
			_, got := trainedBits(t, be.judged(), c.d, c.tr, true)
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Errorf("%s, %s: %s: other bits", be.name, what, names[i])
					break
				}
			}
		}
	}
}
