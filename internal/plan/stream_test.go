package plan

import (
	"strings"
	"testing"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/tensor"
	"longlora/internal/testkit/backend"
)

// h200 plans for a card that is not here.
func h200(device, host int64) Planner {
	m, ok := machine.Named("h200")
	if !ok {
		panic("h200 is not known")
	}
	return Planner{Machine: m, Limits: Limits{device, host}}
}

// Where the device is too small for the weights, or for what would be kept beside them, layers are streamed; what waits
// in host memory is counted there, in the page tables, and no longer on the device but for two layers.
func TestStreamedLayers(t *testing.T) {
	w := on7b(32768)
	w.Desc.L = 8
	layer := int64(0)
	for _, s := range w.Desc.LayerTensors(1) {
		if s.Kind == model.KindMatrix {
			layer += 2 * int64(s.Shape.Elems())
		}
	}
	none := 0
	whole := w
	whole.Forced.Stream = &none
	resident, err := h200(72*gib, 110*gib).choose(whole)
	if err != nil || resident.Stream != 0 || resident.Streamed != 0 || resident.Slots != 0 {
		t.Fatalf("nothing streamed: %+v, %v", resident.Tiling, err)
	}
	for _, c := range []struct {
		device, host int64
		stream       bool
	}{{60, 110, false}, {20, 110, true}, {12, 110, true}, {10, 60, true}} {
		p := h200(c.device*gib, c.host*gib)
		pl, err := p.choose(w)
		if err != nil || pl.Stream > 0 != c.stream || !p.Allows(pl) {
			t.Errorf("%d and %d GiB: %s (%v)", c.device, c.host, pl.Kept(), err)
			continue
		}
		n := int64(pl.Stream)
		if pl.Streamed != n*layer || pl.Slots != min(n, 2)*layer || pl.Weights != resident.Weights-pl.Streamed {
			t.Errorf("%d and %d GiB: %s: %d bytes wait, %d of slots, %d of weights; a layer is %d, all are %d", c.device, c.host, pl.Kept(), pl.Streamed, pl.Slots, pl.Weights, layer, resident.Weights)
		}
		if locked := pl.Halo + pl.MovedBytes + pl.Streamed + pl.State; pl.Host != locked+pl.IDs+pl.Base || pl.Context != p.Context+locked/512 ||
			pl.Device != pl.Params+pl.Act+pl.Workspace+pl.Context+pl.Weights+pl.Slots {
			t.Errorf("%d and %d GiB: the parts of %+v do not add up", c.device, c.host, pl)
		}
		if alone, err := p.choose(whole); err == nil && alone.Seconds(p.Rates, 1) < pl.Seconds(p.Rates, 1) {
			t.Errorf("%d and %d GiB: %s in %g s, without streaming %g", c.device, c.host, pl.Kept(), pl.Seconds(p.Rates, 1), alone.Seconds(p.Rates, 1))
		}
	}
}

// Streaming has 70B at 32k in 80 GiB, and costs no more than the copies that nothing hides.
func TestStreamed70B(t *testing.T) {
	w := on7b(32768)
	w.Desc = model.Shapes["llama2-70b"]
	w.Train = on70b(w.Desc)
	w.Weight = model.AllIn(tensor.Dense(tensor.BF16))
	w.Forced.Tile = 32768
	p := h200(80*gib, 110*gib)
	pl, err := p.choose(w)
	if err != nil || pl.Stream < 30 || pl.Seconds(p.Rates, 1) > 27 {
		t.Errorf("%s, %g s (%v)", pl.Kept(), pl.Seconds(p.Rates, 1), err)
	}
	if full := pl.Cost.Brought / p.Rates.Moved; pl.Cost.Stalled > full/4 {
		t.Errorf("%s: of %g s of copies %g s are waited for", pl.Kept(), full, pl.Cost.Stalled)
	}
}

// What is asked for is done, up to all layers; more is refused by name, where it would have no effect too.
func TestStreamIsForced(t *testing.T) {
	w := on7b(4096)
	w.Desc.L = 8
	for _, n := range []int{0, 1, 2, 7, 8} {
		w.Forced.Stream = &n
		if pl, err := h200(72*gib, 110*gib).choose(w); err != nil || pl.Stream != n {
			t.Errorf("%d layers asked for: %s (%v)", n, pl.Kept(), err)
		}
	}
	many := 9
	w.Forced.Stream = &many
	onHost := h200(0, 300*gib)
	onHost.OnHost = true
	for _, p := range []Planner{h200(72*gib, 110*gib), onHost} {
		if _, err := p.choose(w); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "--stream-layers 9: the model has 8 layers") {
			t.Errorf("9 of 8 layers: %v", err)
		}
	}
	all := 8
	w.Forced.Stream = &all
	if pl, err := onHost.choose(w); err != nil || pl.Stream != 0 || pl.Streamed != 0 {
		t.Errorf("on a CPU: %+v, %v", pl.Tiling, err)
	}
	w.Train = model.Train{Full: true}
	w.Desc.L = 2
	all = 2
	if pl, err := h200(72*gib, 110*gib).choose(w); err != nil || pl.Stream != 0 {
		t.Errorf("where no weight is frozen: %+v, %v", pl.Tiling, err)
	}
}

// The first steps and the last ones of a run have one model, so one number of streamed layers.
func TestStreamIsOneForBoth(t *testing.T) {
	w := full7b(65536)
	p := h100(29*gib/2, 200*gib)
	pl, err := p.choose(w)
	if err != nil || pl.Stream == 0 || pl.Last.Stream != pl.Stream || pl.Room().Streamed != pl.Streamed || !p.Allows(pl) {
		t.Fatalf("%+v, last %+v (%v)", pl.Tiling, pl.Last, err)
	}
	if err := w.Check(pl); err != nil {
		t.Error(err)
	}
	last := *pl.Last
	last.Stream--
	both := pl
	both.Last = &last
	if err := w.Check(both); err == nil || !strings.Contains(err.Error(), "last: stream") {
		t.Errorf("two numbers of streamed layers: %v", err)
	}
	last = *pl.Last
	last.HostState = !last.HostState
	if err := w.Check(both); err == nil || !strings.Contains(err.Error(), "last: host_state") {
		t.Errorf("two places of trained values: %v", err)
	}
}

// The state of a large embedding waits in host memory where that buys time or lets a step fit at all; what it takes there
// is no longer taken on the device but for pieces, and the copies of an update are counted: all values and moments
// both ways, what operations read, and gradients of a micro-batch's rows, to be normed and to be used, and their zeros.
func TestStateInHostMemory(t *testing.T) {
	w := on7b(16384)
	w.Desc = model.Shapes["llama3-8b"]
	w.Desc.L = 4
	w.Train = on70b(w.Desc)
	w.Weight = model.AllIn(tensor.Dense(tensor.BF16))
	embed := 18 * int64(w.Desc.V) * int64(w.Desc.C)
	moments, moved := float64(embed)*12/18, float64(embed)*2/18+float64(3*4*16384*w.Desc.C)
	device := map[bool]int64{}
	for _, c := range []struct {
		device int64
		state  bool
	}{{80, false}, {11, true}} {
		p := h200(c.device*gib, 110*gib)
		pl, err := p.choose(w)
		if err != nil || pl.HostState != c.state || (pl.State == embed) != c.state || !p.Allows(pl) {
			t.Errorf("%d GiB: %s, %d bytes of state, %d of an embedding (%v)", c.device, pl.Kept(), pl.State, embed, err)
			continue
		}
		device[c.state] = pl.Params
		if o := pl.Optimizer; pl.HostState && (o.Brought != moments || o.Sent != moments || o.Moved < moved || o.Moved > moved+1e5) {
			t.Errorf("%d GiB: an update brings %g bytes, sends %g and moves %g", c.device, o.Brought, o.Sent, o.Moved)
		}
	}
	pieces := int64(13*8<<20 + (w.Desc.V/8+ops.Align-1)/ops.Align*ops.Align) // and which rows have gradients
	if device[false]-device[true] != embed-pieces {
		t.Errorf("parameters take %d bytes of the device and %d, the state of an embedding is %d", device[false], device[true], embed)
	}
	off := false
	w.Forced.HostState = &off
	if pl, err := h200(11*gib, 110*gib).choose(w); err == nil && pl.HostState {
		t.Errorf("on the device: %s", pl.Kept())
	}
}

// Where weights are to wait in more host memory than there is, nothing is taken.
func TestRoomIsNotThere(t *testing.T) {
	_, err := NewModelRoom(backend.NewLate(), Plan{Tiling: model.Tiling{Stream: 1}, Params: 1, Slots: 1, Streamed: 1 << 50}, nil)
	if errs.Code(err) != int(errs.NoFit) || !strings.Contains(err.Error(), "lower --host-mem") {
		t.Errorf("2^50 bytes of host memory: %v", err)
	}
	_, err = NewModelRoom(backend.NewLate(), Plan{State: 1 << 50}, dist.Imagined(4))
	if err == nil || !strings.Contains(err.Error(), "wait in host memory in each of 4 processes, and") {
		t.Errorf("2^50 bytes of host memory in each process: %v", err)
	}
	b := backend.NewLate()
	r, err := NewModelRoom(b, Plan{Tiling: model.Tiling{Stream: 3, HostState: true}, Params: 1000, Slots: 2000, Streamed: 3000, State: 4000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Free(b)
	if r.Stream != 3 || r.Waiting.Space != ops.Host || r.State.Space != ops.Host || r.Slots.Space != ops.Device || r.Params.Space != ops.Device {
		t.Errorf("%+v", r.Memory)
	}
}
