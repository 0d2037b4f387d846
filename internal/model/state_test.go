package model_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"longlora/internal/dist"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/testkit/backend"
)

// trainedBits are all trained tensors with their moments and gradients after three updates, each of two micro-batches,
// and after new values and moments have been given. A group's ranks have batches of their own.
func trainedBits(t *testing.T, be ops.Backend, d model.Desc, tr model.Train, state bool, g *dist.Group) (names []string, bits [][]float32) {
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
		seed := uint64(1 + 2*(2*s+g.Rank()))
		loss, _ := step(t, r, ps, 0.1, randomBatch(seed, d.V, false, 30, 11), randomBatch(seed+1, d.V, false, 17))
		if g.Size() > 1 {
			sumUp(t, be, ps, g)
		}
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
	if ps.ZeroGrad(); slices.Max(append(ps.Occurred(), 0)) > 0 {
		t.Error("there are no gradients, and rows that have some")
	}
	return names, bits
}

// sumUp has all ranks have the sum of their gradients.
func sumUp(t *testing.T, be ops.Backend, ps *model.Params, g *dist.Group) {
	t.Helper()
	all, err := g.Gather(ps.Occurred())
	if err != nil {
		t.Error(err)
	}
	for _, rows := range all {
		ps.OccurElsewhere(rows)
	}
	if err := ps.Change(func(x ops.Tensor) error { return g.SumOn(be, x) }); err != nil {
		t.Error(err)
	}
}

// What of whole matrices waits in host memory comes out as the same bits as what does not, on a device that computes in
// float32 and on one that computes in bfloat16, and however late copies are done.
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
	head, many := adapted(small, 0), small
	head.Whole[small.HeadName()] = true
	many.V = 700 // of which few occur
	for _, be := range ways {
		for what, c := range map[string]struct {
			d  model.Desc
			tr model.Train
		}{"embedding": {small, adapted(small, 0)}, "few of many rows": {many, adapted(many, 0)}, "embedding and head": {small, head}, "tied": {tied, adapted(tied, 0)}, "every weight": {small, model.Train{Full: true}}} {
			names, want := trainedBits(t, be.plain(), c.d, c.tr, false, nil)
			_, got := trainedBits(t, be.judged(), c.d, c.tr, true, nil)
			sameBits(t, be.name+", "+what, names, got, want)
		}
	}
}

func sameBits(t *testing.T, what string, names []string, got, want [][]float32) {
	t.Helper()
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("%s: %s: other bits", what, names[i])
			return
		}
	}
}

// And so it does where ranks sum up their gradients, of which each has other rows.
func TestStateOfRanksWaits(t *testing.T) {
	many := small
	many.V = 700
	var names [2][]string
	var bits [2][2][][]float32
	for waits := range bits {
		var all sync.WaitGroup
		for rank, g := range dist.InProcess(2) {
			all.Go(func() {
				names[rank], bits[waits][rank] = trainedBits(t, backend.NewLate(), many, adapted(many, 0), waits == 1, g)
			})
		}
		all.Wait()
	}
	for rank, names := range names {
		sameBits(t, fmt.Sprint("rank ", rank), names, bits[1][rank], bits[0][rank])
		if slices.Equal(bits[0][0][0], bits[0][1][0]) { // losses of the first step
			t.Error("both ranks had the same batches")
		}
	}
}
