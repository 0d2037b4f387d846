package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/tensor"
	"longlora/internal/testkit/table"
)

// sharing is a step of LLaMA-2 70B on so many cards that are not here.
func sharing(t *testing.T, chip string, cards int, change func(c *Options)) (*Planned, error) {
	t.Helper()
	host := int64(200 << 30)
	c := Options{Shape: "llama2-70b", Memory: Memory{Host: &host, Machine: cards}, Overview: true}
	c.Training = Training{Ctx: 32768, Batch: 1, Accum: cards, Processes: cards, Peers: cards, MoveLayers: -1, KeepActivations: "auto",
		Weights: load.AsStored, Products: "auto", ShardWeights: "auto"}
	c.Attn, c.Group, c.Shift = "s2", "0.25", "split"
	c.Trained = load.Trained{Tune: "lora", Rank: 8, Alpha: 16, Targets: []string{"attention"}, TrainEmbed: true, TrainNorm: true}
	if change != nil {
		change(&c)
	}
	m, ok := machine.Named(chip)
	if !ok {
		t.Fatal(chip)
	}
	return Run(c, m)
}

// Weights are divided among several cards where that is asked for, or nothing fits otherwise; not where cards cannot
// read each other's memory, or there is one.
func TestShardedPlans(t *testing.T) {
	var out strings.Builder
	for _, c := range []struct {
		chip   string
		cards  int
		weight string
	}{{"h200", 2, "on"}, {"h200", 2, "auto"}, {"h100", 4, "auto"}} {
		p, err := sharing(t, c.chip, c.cards, func(o *Options) { o.ShardWeights = c.weight })
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%d %s, --shard-weights %s: fits %v, %d sharded, %d streamed, weights %.1f GiB here and %.1f of others', %.2g s\n",
			c.cards, c.chip, c.weight, p.Fits, p.Shard, p.Stream, float64(p.Weights+p.Shared)/(1<<30), float64(p.Slots)/(1<<30), p.PredictedS)
	}
	table.Hold(t, "sharded.txt", out.String())
	for chip, want := range map[string]string{"rtx4090": "cards of this kind can not read each other's memory", "h200": "here is one"} {
		_, err := sharing(t, chip, 2, func(o *Options) {
			if o.ShardWeights = "on"; chip == "h200" {
				o.Peers = 0
			}
		})
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", chip, err)
		}
	}
}

// The sum of gradients is part of a step: 2·(n-1)/n of their bytes over the link.
func TestSumIsCounted(t *testing.T) {
	at := func(cards, processes int) *Planned {
		p, err := sharing(t, "h200", cards, func(o *Options) { o.Shape, o.Processes = "llama2-7b", processes })
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	with, without := at(8, 8), at(8, 0)
	m, _ := machine.Named("h200")
	// without processes one does all eight rows
	sum := with.PredictedS - without.PredictedS/8
	optimizer := 7. / 8 * 0.012 // of an update, which each process does
	if want := 2 * 7. / 8 * 4 * float64(with.Trainable) / m.Rates.Link; math.Abs(sum-want) > optimizer {
		t.Errorf("a sum of %d numbers takes %.4f s, want %.4f", with.Trainable, sum, want)
	}
}

// All ways in which cards can divide a step are planned, the quickest first, each with what asks for it: chains that
// share the rows evenly, and weights divided where that is quicker.
func TestDivisions(t *testing.T) {
	p, err := sharing(t, "h200", 4, func(o *Options) { o.Shape, o.Ctx, o.Accum, o.Overview = "llama2-7b", 16384, 2, false })
	if err != nil {
		t.Fatal(err)
	}
	var chains []int
	last := 0.0
	for _, d := range p.Divisions {
		chains = append(chains, d.Chain)
		if !d.Fits || d.PredictedS < last || d.Chain*d.Chains != 4 || (d.Advice() == nil) != (d.Chain == 1) {
			t.Errorf("%+v", d)
		}
		last = d.PredictedS
	}
	slices.Sort(chains)
	if want := []int{2, 4}; !slices.Equal(chains, want) { // one row each does not share two rows
		t.Errorf("chains of %v ranks, want %v", chains, want)
	}
	host := int64(1 << 40)
	p, err = sharing(t, "h200", 2, func(o *Options) {
		o.Ctx, o.Overview, o.Memory.Host, o.Memory.Machine = 8192, false, &host, 1
	})
	if err != nil {
		t.Fatal(err)
	}
	sharded := slices.IndexFunc(p.Divisions, func(d Division) bool { return d.Chain == 1 && d.Shard > 0 })
	if sharded < 0 || p.Divisions[sharded].Advice()[0] != (errs.Change{Option: "shard-weights", Value: "on"}) || p.Shard > 0 {
		t.Errorf("%+v", p.Divisions)
	}
}

// Where all memory is the host's, what is said to be mapped is what the file's pages hold: matrices that loading
// encodes are not, and of sharded layers nothing is.
func TestMappedWeights(t *testing.T) {
	w := on7b(4096)
	stored := tensor.Dense(tensor.F16)
	for _, weights := range []string{load.AsStored, "nf4", "fp8"} {
		w.Weight, w.Made, w.Peers = load.Formats(w.Desc, weights, stored), load.Made(w.Desc, weights, stored, true), 2
		p := h100(0, 0)
		p.OnHost = true
		z, err := newCounted(problem{w, p})
		if err != nil {
			t.Fatal(err)
		}
		mapped := func(shard int) int64 {
			return z.size(model.Tiling{Tile: 1024, Keep: model.KeepInput, Shard: shard, MLPRows: 512, HeadRows: 256}).Weights
		}
		blocks, outside := mapped(0)-mapped(w.Desc.L), mapped(w.Desc.L)
		head := 2 * int64(w.Desc.V*w.Desc.C)
		if outside < head || outside > head+head/8 {
			t.Errorf("%s: %d bytes are mapped beside the layers, the head has %d", weights, outside, head)
		}
		for _, shard := range []int{1, 7, w.Desc.L - 1} {
			want := outside + blocks/int64(w.Desc.L)*int64(w.Desc.L-shard)
			if got := mapped(shard); math.Abs(float64(got-want)) > 1<<20 {
				t.Errorf("%s, %d layers sharded: %d bytes are mapped, want %d", weights, shard, got, want)
			}
		}
	}
}
