package plan

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/lora"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// h100 plans for a card that is not here.
func h100(device, host int64) Planner {
	m, ok := machine.Named("h100")
	if !ok {
		panic("h100 is not known")
	}
	return Planner{Machine: m, Limits: Limits{device, host}}
}

// on7b is the paper's recipe on LLaMA-2 7B.
func on7b(ctx int) Work {
	d, targets := model.Shapes["llama2-7b"], []string{"q_proj", "k_proj", "v_proj", "o_proj"}
	return Work{Desc: d, Train: lora.Fresh{Embed: true, Norms: true, Rank: 8, Alpha: 16, Targets: targets}.Train(d),
		Weight: model.AllIn(tensor.Dense(tensor.F16)), Spec: s2attn.Spec{Mode: s2attn.Split, Group: ctx / 4}, Ctx: ctx, Batch: 1}
}

// on70b is the paper's recipe on LLaMA-2 70B.
func on70b(d model.Desc) model.Train {
	targets := []string{"q_proj", "k_proj", "v_proj", "o_proj"}
	return lora.Fresh{Embed: true, Norms: true, Rank: 8, Alpha: 16, Targets: targets}.Train(d)
}

const gib = 1 << 30

// A limit between two policies is used: as many layers keep the larger part as fit, and no more would.
func TestMoreLayersKeepMore(t *testing.T) {
	w, p := on7b(32768), h100(72*gib, gib) // too little host memory to move a layer
	pl, err := p.choose(w)
	if err != nil {
		t.Fatal(err)
	}
	if pl.Keep != model.KeepAttn || pl.More < 1 || pl.Tile != 32768 || pl.Halo != 0 {
		t.Fatalf("7B at 32k under 72 GiB: %+v", pl.Tiling)
	}
	if pl.Device > p.Limits.Device {
		t.Errorf("%d bytes planned of %d", pl.Device, p.Limits.Device)
	}
	more := pl.Tiling
	more.More++
	next, err := p.Count(w, more)
	if err != nil || next.Device <= p.Limits.Device {
		t.Errorf("one layer more would fit: %d of %d (%v)", next.Device, p.Limits.Device, err)
	}
	if each := int64(32768 * 2 * 11008 * 2); next.Device-pl.Device != each { // gate and up, bfloat16
		t.Errorf("a layer that keeps all takes %d more bytes, its gate and up are %d", next.Device-pl.Device, each)
	}
	if next.Cost.Linear >= pl.Cost.Linear {
		t.Error("keeping more saved no operations")
	}
}

// Host memory buys time where the device's is short, and what is moved is counted there.
func TestMovedLayers(t *testing.T) {
	w, rates := on7b(65536), h100(0, 0).Rates
	here, err := h100(72*gib, gib/2).choose(w)
	if err != nil {
		t.Fatal(err)
	}
	there, err := h100(72*gib, 100*gib).choose(w)
	if err != nil {
		t.Fatal(err)
	}
	if here.Moved != 0 || there.Moved == 0 || there.Seconds(rates, 1) > 0.95*here.Seconds(rates, 1) {
		t.Errorf("with host memory %s in %.3g s, without %s in %.3g s", there.Kept(), there.Seconds(rates, 1), here.Kept(), here.Seconds(rates, 1))
	}
	if out := int64(there.Moved) * 65536 * 2 * 4096 * 2; there.MovedBytes < out || there.Host < there.MovedBytes || there.Cost.Sent < float64(out) { // input and o at least
		t.Errorf("%s: %d bytes moved of %d of host memory; sent %g", there.Kept(), there.MovedBytes, there.Host, there.Cost.Sent)
	}
	none := 0
	w.Forced = Forced{Keep: "out", Moved: &none}
	if pl, err := h100(72*gib, 100*gib).choose(w); err != nil || pl.Keep != model.KeepOut || pl.Moved != 0 || pl.More != 0 {
		t.Errorf("asked for out and nothing moved: %s (%v)", pl.Kept(), err)
	}
	many := 30
	w.Forced.Moved = &many
	if _, err := h100(72*gib, 100*gib).choose(w); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "--move-layers 30: of the model's 32 layers 29") {
		t.Errorf("30 layers moved: %v", err)
	}
}

// No tiling that fits is predicted to be faster than the one chosen.
func TestChooseIsBest(t *testing.T) {
	w := on7b(16384)
	w.Desc.L, w.Spec.Group = 6, 2048
	for _, lim := range []Limits{{8 * gib, gib}, {10 * gib, 4 * gib}, {13 * gib, 4 * gib}} {
		p := problem{w, h100(lim.Device, lim.Host)}
		z, err := newCounted(p)
		if err != nil {
			t.Fatal(err)
		}
		pl, err := p.choose(w)
		if err != nil {
			t.Fatal(err)
		}
		chosen, tried := pl.Seconds(p.Rates, 1), 0
		for _, tile := range p.tiles() {
			mlp, head := p.pieces(tile)
			for _, keep := range p.keeps() {
				for moved := range model.MostMoved(p.Desc.L) + 1 {
					for more := range p.Desc.L - 1 {
						for _, wait := range []model.Tiling{{}, {Stream: 6}, {Stream: 4, HostState: true}} {
							tl := model.Tiling{Tile: tile, Keep: keep, Moved: moved, Stream: wait.Stream, HostState: wait.HostState, More: more, MLPRows: mlp[0], HeadRows: head}
							if !p.Allows(z.size(tl)) {
								continue
							}
							tried++
							if s := z.count(tl).Seconds(p.Rates, 1); s < chosen*0.985 { // copies that nothing waits for count a little
								t.Errorf("%d and %d GiB: tile %d, %s in %.4g s; chosen tile %d, %s in %.4g s", lim.Device/gib, lim.Host/gib,
									tile, tl.Kept(), s, pl.Tile, pl.Kept(), chosen)
							}
						}
					}
				}
			}
		}
		t.Logf("%d and %d GiB: %d fit; tile %d, %s", lim.Device/gib, lim.Host/gib, tried, pl.Tile, pl.Kept())
		if tried == 0 {
			t.Error("nothing fits")
		}
	}
}

// The more memory there is the less time is predicted; short contexts keep all.
func TestMemoryBuysTime(t *testing.T) {
	last := 0.0
	for _, g := range []int64{24, 32, 48, 72, 140} {
		p := h100(g*gib, gib)
		pl, err := p.choose(on7b(16384))
		if err != nil {
			t.Fatal(err)
		}
		s := pl.Seconds(p.Rates, 1)
		if last > 0 && s > last {
			t.Errorf("%d GiB: %g s, with less memory %g s", g, s, last)
		}
		if last = s; g == 140 && pl.Keep != model.KeepAll {
			t.Errorf("at 140 GiB %s is kept", pl.Kept())
		}
	}
}

// Weights count as bfloat16 whatever the file has, trained ones once, and the context is in the sum.
func TestDeviceBytes(t *testing.T) {
	w, p := on7b(8192), h100(72*gib, gib)
	w.Weight = model.AllIn(tensor.Dense(tensor.F32))
	pl, err := p.choose(w)
	if err != nil {
		t.Fatal(err)
	}
	d := w.Desc
	frozen := int64(d.L*(4*d.C*d.C+3*d.C*d.F)+d.V*d.C) * 2 // the head; the embedding and the norms are trained
	if pl.Weights != frozen {
		t.Errorf("frozen weights take %d bytes, want %d", pl.Weights, frozen)
	}
	if want := pl.Params + pl.Act + pl.Weights + p.Workspace + p.Context; pl.Device != want {
		t.Errorf("device bytes %d, parts are %d", pl.Device, want)
	}
	if low, high := 16*pl.Trainable, 18*pl.Trainable+1<<22; pl.Params < low || pl.Params > high {
		t.Errorf("%d bytes of parameters for %d trained values", pl.Params, pl.Trainable)
	}
}

func TestLongest(t *testing.T) {
	p := h100(24*gib, 64*gib)
	n, err := p.longest(func(ctx int) (Work, error) { return on7b(ctx), nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.choose(on7b(n)); err != nil {
		t.Errorf("the longest context %d: %v", n, err)
	}
	_, err = p.choose(on7b(n + n/128))
	if errs.Code(err) != int(errs.NoFit) || !strings.Contains(err.Error(), "--device-mem") {
		t.Errorf("%d tokens more: %v", n/128, err)
	}
	t.Logf("7B in 24 GiB: %d tokens", n)
}

func TestChips(t *testing.T) {
	for name, peak := range map[string]float64{"a100": 312e12, "h100": 989e12, "h200": 989e12, "rtx4090": 165e12} {
		m, ok := machine.Named(name)
		if !ok || m.Peak != peak || m.Act != tensor.BF16 || m.OnHost || !(m.Rates.Linear < peak) || m.Memory < 20*gib {
			t.Errorf("%s: %+v", name, m)
		}
	}
	if _, ok := machine.Named("cpu"); ok {
		t.Error("the CPU is not a GPU")
	}
}

// Plans of before there were mixed policies are read as they were.
func TestSavedTilings(t *testing.T) {
	var tl model.Tiling
	if err := json.Unmarshal([]byte(`{"tile":64,"keep":"attn","mlp_rows":32,"head_rows":16}`), &tl); err != nil {
		t.Fatal(err)
	}
	if tl != (model.Tiling{Tile: 64, Keep: model.KeepAttn, MLPRows: 32, HeadRows: 16}) {
		t.Errorf("read as %+v", tl)
	}
	tl.More = 2
	want := []model.Keep{model.KeepAll, model.KeepAll, model.KeepAttn, model.KeepAttn}
	for l, k := range want {
		if got := tl.KeepOf(l, len(want)); got != k {
			t.Errorf("layer %d keeps %s, want %s", l, got, k)
		}
	}
	b, err := json.Marshal(tl)
	var again model.Tiling
	if err == nil {
		err = json.Unmarshal(b, &again)
	}
	if err != nil || again != tl || tl.Kept() != "all in 2 layers, attn in the others" {
		t.Errorf("%s read as %+v (%v): %s", b, again, err, tl.Kept())
	}
}

// Planning holds no tokens: the longest context takes no more memory than a short one.
func TestPlanOfTheLongestContext(t *testing.T) {
	w := on7b(1 << 30)
	w.Train.Drop = 0.1
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := h100(0, 0).Count(w, model.Tiling{Tile: 1 << 29, Keep: model.KeepInput, MLPRows: 1 << 29, HeadRows: 1 << 29}); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<28 {
		t.Errorf("%d MiB", n>>20)
	}
}

// The longest row that an option takes is counted in about as many operations as one of a million tokens: no loop goes
// through pieces of a fixed size.
func TestLongestRow(t *testing.T) {
	for _, host := range []bool{false, true} {
		w, p := on7b(1<<30), h100(72*gib, 1<<50)
		p.OnHost = host
		work := problem{w, p}
		for _, tile := range work.tiles() {
			if mlp, head := work.pieces(tile); mlp[len(mlp)-1] < min(tile, 1<<30/mostPieces) || head < min(tile, 1<<30/mostPieces) {
				t.Errorf("tile %d: pieces of %v and %d rows", tile, mlp, head)
			}
		}
	}
	mlp, head := problem{on7b(1 << 20), h100(72*gib, 1<<50)}.pieces(1 << 20)
	if mlp[1] != gpuMLPRows || mlp[2] != gpuMLPLeast || head != gpuHeadRows {
		t.Errorf("a million tokens: pieces of %v and %d rows", mlp, head)
	}
}
