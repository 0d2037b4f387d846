package plan

import (
	"slices"
	"testing"

	"longlora/internal/lora"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Ranks that divide a row work about as long as each other, counted at an H200's rates, under full attention too, where
// the last tokens see the most: the slowest at most a tenth longer than all on average. And a plan counts what every one of
// them takes.
func TestChainsAreBalanced(t *testing.T) {
	m, ok := machine.Named("h200")
	if !ok {
		t.Fatal("no such chip")
	}
	p := Planner{Machine: m, Limits: Limits{Device: 138 * gib, Host: 400 * gib}}
	for _, shape := range []string{"llama2-7b", "llama3-8b", "gemma2-9b"} {
		d, _ := model.Shape(shape)
		tr := lora.Fresh{Rank: 8, Alpha: 16, Targets: d.Targets(true), Embed: true, Norms: true}.Train(d)
		for _, spec := range []s2attn.Spec{{Mode: s2attn.Full}, {Mode: s2attn.Split, Group: 8192}} {
			for _, size := range []int{2, 4} {
				w := Work{Desc: d, Train: tr, Weight: model.AllIn(tensor.Dense(tensor.BF16)), Spec: spec, Ctx: 131072, Batch: 1, Chain: size}
				pl, err := p.choose(w)
				if err != nil {
					t.Fatal(err)
				}
				z, err := newCounted(problem{w, p})
				if err != nil {
					t.Fatal(err)
				}
				var took []float64
				sum := 0.0
				for rank := range size {
					act, host := ops.CountingArena("act", ops.Device), ops.CountingArena("halo", ops.Host)
					r := z.runner(spec, pl.Tiling, act, host)
					r.Division.Rank = rank
					z.c.Restart()
					r.Step(z.batch, 1)
					s := p.Rates.Seconds(z.c.Restart())
					took, sum = append(took, s), sum+s
					if act.Peak() != pl.Act || host.Peak() != pl.Halo+pl.MovedBytes {
						t.Errorf("%s, %v: rank %d of %d takes %d and %d, planned %d and %d", shape, spec, rank, size, act.Peak(), host.Peak(), pl.Act,
							pl.Halo+pl.MovedBytes)
					}
				}
				over := slices.Max(took)*float64(size)/sum - 1
				t.Logf("%s, %v, %d ranks: %.3g s, the slowest %.3g over the mean; tile %d, %s", shape, spec, size, took, over, pl.Tile, pl.Kept())
				if !(over <= 0.1) {
					t.Errorf("%s, %v, %d ranks: the slowest takes %.3g more than all on average", shape, spec, size, over)
				}
			}
		}
	}
}

// A row that fits two cards in no other way fits in tiles, at the work of a span that is one, and all ranks take what is
// planned.
func TestSpansInTiles(t *testing.T) {
	m, ok := machine.Named("h100")
	if !ok {
		t.Fatal("no such chip")
	}
	p := Planner{Machine: m, Limits: Limits{Device: 78 * gib, Host: 400 * gib}}
	d, _ := model.Shape("llama2-7b")
	const n, size = 1 << 20, 2
	w := Work{Desc: d, Train: lora.Fresh{Rank: 8, Alpha: 16, Targets: d.Targets(true), Embed: true, Norms: true}.Train(d),
		Weight: model.AllIn(tensor.Dense(tensor.BF16)), Spec: s2attn.Spec{Mode: s2attn.Split, Group: n / 4}, Ctx: n, Batch: 1, Chain: size}
	whole := w
	whole.Forced.Tile = n
	if _, err := p.choose(whole); err == nil {
		t.Error("fits with a span as one tile")
	}
	pl, err := p.choose(w)
	if err != nil || pl.Tile >= n/size {
		t.Fatalf("tile %d: %v", pl.Tile, err)
	}
	z, err := newCounted(problem{w, p})
	if err != nil {
		t.Fatal(err)
	}
	one := pl.Tiling
	one.Tile = n / size
	if a, b := z.cost(pl.Tiling, z.batch), z.cost(one, z.batch); !(a.Attention <= 1.001*b.Attention) || !(a.Linear <= 1.02*b.Linear) {
		t.Errorf("%g of attention and %g of products, in one tile %g and %g", a.Attention, a.Linear, b.Attention, b.Linear)
	}
	for rank := range size {
		act, host := ops.CountingArena("act", ops.Device), ops.CountingArena("halo", ops.Host)
		r := z.runner(w.Spec, pl.Tiling, act, host)
		r.Division.Rank = rank
		r.Step(z.batch, 1)
		if act.Peak() != pl.Act || host.Peak() != pl.Halo+pl.MovedBytes {
			t.Errorf("rank %d takes %d and %d, planned %d and %d", rank, act.Peak(), host.Peak(), pl.Act, pl.Halo+pl.MovedBytes)
		}
	}
}
