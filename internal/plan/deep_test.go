package plan

import (
	"math"
	"testing"

	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
)

// What layers of one kind take is counted once and added up, and comes to what all of them take.
func TestSizesAreWhatIsTaken(t *testing.T) {
	w, p := on7b(32768), h100(72*gib, 512*gib)
	z, err := newCounted(problem{w, p})
	if err != nil {
		t.Fatal(err)
	}
	for _, tl := range []model.Tiling{
		{Tile: 32768, Keep: model.KeepAll}, {Tile: 8192, Keep: model.KeepAttn, More: 7}, {Tile: 4096, Keep: model.KeepOut, Moved: 3},
		{Tile: 8192, Keep: model.KeepOut, More: 30, Moved: 20}, {Tile: 2048, Keep: model.KeepInput, More: 12, Moved: 29},
	} {
		tl.MLPRows, tl.HeadRows = min(tl.Tile, gpuMLPRows), gpuHeadRows
		act, host := ops.CountingArena("activations", ops.Device), ops.CountingArena("halos", ops.Host)
		r := z.runner(w.Spec, tl, act, host)
		r.Size(z.batch, true)
		pl := z.size(tl)
		if pl.Act != act.Peak() || pl.Halo+pl.MovedBytes != host.Peak() || pl.MovedBytes != r.MovedBytes() {
			t.Errorf("%+v: %d, %d and %d bytes, taken were %d, %d and %d", tl, pl.Act, pl.Halo, pl.MovedBytes, act.Peak(), host.Peak()-r.MovedBytes(), r.MovedBytes())
		}
	}
}

// A deep model's time is what its beginnings tell, and the plan is one for all of its layers.
func TestDeepModel(t *testing.T) {
	w, p := on7b(16384), h100(1000*gib, 1000*gib)
	w.Desc.L = deep + 12
	z, err := newCounted(problem{w, p})
	if err != nil || z.few == nil {
		t.Fatal(err)
	}
	for _, tile := range []int{16384, 2048} {
		tl := model.Tiling{Tile: tile, Keep: model.KeepAttn, MLPRows: 2048, HeadRows: gpuHeadRows}
		told, counted := z.seconds(tl), p.Rates.Seconds(z.cost(tl, z.batch))
		if math.Abs(told-counted) > 1e-3*counted {
			t.Errorf("tile %d: %v s told by %d layers, %v s counted", tile, told, someLayers, counted)
		}
	}
	pl, err := p.choose(w)
	if err != nil || w.Check(pl) != nil {
		t.Errorf("%+v, %v", pl, err)
	}
}

// Where all memory is the host's, a few layers tell exactly what all take.
func TestLayersOnAHost(t *testing.T) {
	for _, full := range []bool{false, true} {
		w, p := on7b(16384), h100(0, 0)
		if p.OnHost = true; full {
			w.Spec = s2attn.Spec{Mode: s2attn.Full}
		}
		z, err := newCounted(problem{w, p})
		if err != nil || z.few == nil {
			t.Fatal(err)
		}
		for _, tl := range []model.Tiling{{Tile: 16384, Keep: model.KeepAll}, {Tile: 4096, Keep: model.KeepOut}, {Tile: 1024, Keep: model.KeepInput}} {
			tl.MLPRows, tl.HeadRows = cpuMLPRows, cpuHeadRows
			if told, counted := z.seconds(tl), p.Rates.Seconds(z.cost(tl, z.batch)); math.Abs(told-counted) > 1e-9*counted {
				t.Errorf("%+v: %v s told by a few layers, %v s counted", tl, told, counted)
			}
		}
	}
}
