package plan

import (
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/ui"
)

// full7b is the paper's recipe on the first layers of LLaMA-2 7B with groups of 8,192 tokens whose last steps attend fully.
func full7b(ctx int) Work {
	w := on7b(ctx)
	w.Spec.Group = 8192
	w.Desc.L = 8
	w.Last = &Last{Spec: s2attn.Spec{Mode: s2attn.Full}, When: "in the last 3 of 20 steps"}
	return w
}

// Where there is enough memory each part is planned as it would be alone, and the room is what either needs.
func TestEachPartAsAlone(t *testing.T) {
	w, p := full7b(65536), h100(72*gib, 200*gib)
	both, err := p.choose(w)
	if err != nil {
		t.Fatal(err)
	}
	first := w
	first.Last = nil
	for what, c := range map[string]struct {
		alone Work
		is    Plan
	}{"first": {first, both}, "last": {w.AsLast(), *both.Last}} {
		alone, err := p.choose(c.alone)
		if err != nil || alone.Tiling != c.is.Tiling || alone.Device != c.is.Device || alone.Host != c.is.Host {
			t.Errorf("%s: %+v, alone %+v (%v)", what, c.is, alone, err)
		}
	}
	room := both.Room()
	if room.Act < both.Act || room.Act < both.Last.Act || room.Halo+room.MovedBytes < both.Halo+both.MovedBytes ||
		room.Halo+room.MovedBytes < both.Last.Halo+both.Last.MovedBytes || room.Context < both.Last.Context || room.Last != nil {
		t.Errorf("no room in %+v for %+v and %+v", room, both, *both.Last)
	}
	if is := room.Params + room.Act + room.Workspace + room.Context + room.Weights; room.Device != is {
		t.Errorf("%d bytes of the device, the parts are %d", room.Device, is)
	}
	if is := room.Halo + room.MovedBytes + room.IDs + room.Base; room.Host != is {
		t.Errorf("%d bytes of the host, the parts are %d", room.Host, is)
	}
	if err := w.Check(both); err != nil {
		t.Error(err)
	}
	again, err := p.Again(w, both)
	if err != nil || again.Tiling != both.Tiling || again.Last.Tiling != both.Last.Tiling || again.Room() != room {
		t.Errorf("planned again: %+v (%v)", again, err)
	}
}

// Within any limits in which the last steps fit the first ones fit beside them, on a device and where all memory is the
// host's, and the room for both is within the limits.
func TestRoomIsWithinLimits(t *testing.T) {
	w := full7b(16384)
	w.Desc.L, w.Spec.Group = 3, 3000 // tiles of the two parts differ
	none := 0
	for _, onHost := range []bool{false, true} {
		for device := int64(3) * gib; device > gib; device -= gib / 2 {
			for _, host := range []int64{200 << 20, gib} {
				p := h100(device, host)
				if p.OnHost = onHost; onHost {
					p.Limits = Limits{0, device + host}
				}
				pl, err := p.choose(w)
				_, alone := p.choose(w.AsLast())
				if (err == nil) != (alone == nil) {
					t.Fatalf("%d and %d bytes: %v, the last steps alone %v", device, host, err, alone)
				}
				if err != nil {
					none++
					continue
				}
				if room := pl.Room(); room.Device > p.Limits.Device || room.Host > p.Limits.Host {
					t.Errorf("%d and %d bytes of %+v", room.Device, room.Host, p.Limits)
				}
			}
		}
	}
	if none == 0 {
		t.Error("everything fits")
	}
}

// A refusal says which steps do not fit where the others do.
func TestWhichStepsDoNotFit(t *testing.T) {
	w := full7b(131072)
	for _, c := range []struct {
		device    int64
		want, not string
	}{
		{9 * gib, "in the last 3 of 20 steps, attention is full, and there --ctx 131072 does not fit: the smallest plan (tile", ""},
		{9 * gib, "The steps before them, under s2, fit", ""},
		{2 * gib, "--ctx 131072 does not fit: the smallest plan (tile", "The steps before them"},
	} {
		pl, err := h100(c.device, 30*gib).choose(w)
		if errs.Code(err) != int(errs.NoFit) || !strings.Contains(err.Error(), c.want) || c.not != "" && strings.Contains(err.Error(), c.not) {
			t.Errorf("%d bytes: %v", c.device, err)
		}
		if room := pl.Room(); err != nil && !strings.Contains(err.Error(), "needs "+ui.Bytes(room.Host)+
			" of host memory and "+ui.Bytes(room.Device)+" of device memory") {
			t.Errorf("%d bytes: %v; the room is %d and %d", c.device, err, room.Host, room.Device)
		}
		if pl.Tile == 0 || pl.Last == nil || pl.Last.Tile == 0 {
			t.Errorf("%d bytes: no smallest plans: %+v", c.device, pl)
		}
	}
	p := h100(9*gib, 30*gib)
	n, err := p.longest(func(ctx int) (Work, error) { return full7b(ctx), nil })
	if err != nil || n < 4096 || n >= 131072 {
		t.Fatalf("the longest context is %d, %v", n, err)
	}
	if _, err := p.choose(full7b(n)); err != nil {
		t.Errorf("%d tokens: %v", n, err)
	}
	if _, err := p.choose(full7b(n + n/100 + 64)); errs.Code(err) != int(errs.NoFit) {
		t.Errorf("more than %d tokens: %v", n, err)
	}
}

// Rolled groups need one tile, and so do the last steps of such a run, and what is scored under them.
func TestRolledFirstSteps(t *testing.T) {
	w := full7b(4096)
	w.Spec = s2attn.Spec{Mode: s2attn.Roll, Group: 1024}
	w.Last.Score = []s2attn.Spec{w.Spec}
	pl, err := h100(72*gib, 10*gib).choose(w)
	if err != nil || pl.Tile != 4096 || pl.Last.Tile != 4096 {
		t.Fatalf("%+v, %v", pl, err)
	}
	pl.Last.Tile = 2048
	if err := w.Check(pl); err == nil || !strings.Contains(err.Error(), "last: tile: 2048") {
		t.Errorf("half a row: %v", err)
	}
	pl.Last = nil
	if err := w.Check(pl); err == nil {
		t.Error("no plan for the last steps")
	}
	w.Last = nil
	pl.Last = &Plan{Tiling: model.Tiling{Tile: 1}}
	if err := w.Check(pl); err == nil {
		t.Error("a plan for last steps that are not")
	}
}

// Where all memory is the host's, what waits between the tiles of the first steps lies beside the last ones' activations:
// the longest context is one in which both can be carried out.
func TestLongestOfBothOnAHost(t *testing.T) {
	at := func(ctx int) (Work, error) {
		w := full7b(ctx)
		w.Desc.L, w.Spec.Group = 2, ctx/4
		return w, nil
	}
	for _, host := range []int64{3 * gib, 6 * gib} {
		p := h100(0, 0)
		p.OnHost, p.Limits = true, Limits{0, host}
		n, err := p.longest(at)
		if err != nil || n < 1024 {
			t.Fatal(n, err)
		}
		w, _ := at(n)
		pl, err := p.choose(w)
		if room := pl.Room(); err != nil || room.Host > host {
			t.Errorf("%d tokens take %d bytes of %d: %v", n, room.Host, host, err)
		}
	}
}

// What a refusal says that both parts need is enough for both, on a device and where all memory is the host's; and less of
// a device's is not, whatever the host has.
func TestNeedsAreEnough(t *testing.T) {
	for _, onHost := range []bool{false, true} {
		w, p := full7b(32768), h100(2*gib, gib)
		if p.OnHost = onHost; onHost {
			p.Limits = Limits{0, gib}
		}
		least, err := p.choose(w)
		if errs.Code(err) != int(errs.NoFit) {
			t.Fatal(err)
		}
		room := least.Room()
		p.Limits = Limits{room.Device, room.Host}
		if _, err := p.choose(w); err != nil {
			t.Errorf("on the host %v: %+v is not enough: %v", onHost, p.Limits, err)
		}
		if p.Limits.Host -= 64 << 20; !onHost {
			p.Limits = Limits{room.Device - 64<<20, 1 << 50}
		}
		if pl, err := p.choose(w); errs.Code(err) != int(errs.NoFit) {
			t.Errorf("on the host %v: %+v is more than enough: %+v, %v", onHost, room, pl.Room(), err)
		}
	}
}

// So it is where the first steps fit in what there is, and the last ones do not.
func TestNeedOfTheLastSteps(t *testing.T) {
	none := 0
	for host := int64(16) * gib; host > 4*gib; host -= gib / 2 {
		w, p := full7b(65536), h100(0, 0)
		p.OnHost, p.Limits = true, Limits{0, host}
		least, err := p.choose(w)
		if err == nil || !strings.Contains(err.Error(), "The steps before them") {
			continue
		}
		none++
		if room := least.Room().Host; !strings.Contains(err.Error(), "needs "+ui.Bytes(room)+" of host memory") {
			t.Errorf("%d bytes: %v; the room is %s", host, err, ui.Bytes(room))
		}
		p.Limits.Host = least.Room().Host
		if _, err := p.choose(w); err != nil {
			t.Errorf("%d bytes are not enough: %v", p.Limits.Host, err)
		}
	}
	if none == 0 {
		t.Error("the first steps fit nowhere alone")
	}
}

// Only memory that there is too little of is to be raised, and a card's only where not all of it is allowed.
func TestWhatToRaise(t *testing.T) {
	for _, c := range []struct {
		device, host  int64 // that are needed, where 10 are allowed
		onHost, whole bool
		want          string
	}{
		{5, 20, false, false, "raise --host-mem"},
		{20, 5, false, false, "raise --device-mem"},
		{20, 20, false, false, "raise --device-mem and --host-mem"},
		{20, 5, false, true, "use a card with more memory"},
		{20, 20, false, true, "use a card with more memory and raise --host-mem"},
		{0, 20, true, false, "raise --host-mem"},
	} {
		p := h100(10, 10)
		p.OnHost, p.whole = c.onHost, c.whole
		if got := p.raise(Plan{Device: c.device, Host: c.host}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
