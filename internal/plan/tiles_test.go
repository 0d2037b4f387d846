package plan

import (
	"slices"
	"strings"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/model"
)

// A tile that makes more of them than are planned is refused by how long it must be, and that length is planned; so is
// what the planner takes itself, and no context of which there would be more is said to fit.
func TestTilesWithoutNumber(t *testing.T) {
	for _, c := range []struct {
		tile, chain int
		onHost      bool
		says        string // "" where it is planned
	}{
		{tile: 3, says: "--tile 3: makes 10923 tiles of 32768 tokens, and of 32 layers at most 128 are planned; give 256 or more, or 0"},
		{tile: 255, says: "give 256 or more"},
		{tile: 256},
		{tile: 3, chain: 4, says: "--tile 3: makes 2731 tiles of 8192 tokens, a process's part of a row, and of 32 layers " +
			"at most 128 are planned; give 64 or more, or 0 for the planner's choice"},
		{tile: 64, chain: 4},
		{tile: 0},
	} {
		w, p := on7b(32768), h100(72*gib, 512*gib)
		w.Forced.Tile, w.Chain = c.tile, c.chain
		z := problem{w, p}
		err := z.checkForced()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("tile %d of a chain of %d: %v, not %q", c.tile, c.chain, err, c.says)
		}
		if err != nil && errs.Code(err) != int(errs.Usage) {
			t.Errorf("tile %d: code %d", c.tile, errs.Code(err))
		}
		if fits, err := p.fits(w); err != nil || fits != (c.says == "") {
			t.Errorf("tile %d of a chain of %d: fits is %v, %v", c.tile, c.chain, fits, err)
		}
	}
	for _, chain := range []int{1, 2} {
		w, p := on7b(1<<20), h100(0, 1<<45)
		p.OnHost, w.Chain = true, chain
		own := problem{w, p}.ownTiles()
		if w.Forced.Tile = slices.Min(own); (problem{w, p}).checkForced() != nil {
			t.Errorf("a chain of %d: the planner's own tile of %d is refused", chain, w.Forced.Tile)
		}
	}
}

// What moves or streams more layers than another plan that keeps as much is never quicker and is not counted: with
// weights divided among cards, and in short tiles, each count takes long.
func TestWhatServesNothingIsNotCounted(t *testing.T) {
	is := model.Tiling{Tile: 512, Keep: model.KeepAttn, More: 3, MLPRows: 512, Moved: 4}
	for _, c := range []struct {
		name   string
		change func(other *model.Tiling)
		want   bool
	}{
		{"the same", func(*model.Tiling) {}, true},
		{"more moved", func(o *model.Tiling) { o.Moved++ }, true},
		{"more moved for more kept", func(o *model.Tiling) { o.Moved++; o.More++ }, false},
		{"fewer moved, more streamed", func(o *model.Tiling) { o.Moved--; o.Stream++ }, false},
		{"state elsewhere", func(o *model.Tiling) { o.HostState = true }, true},
		{"another policy", func(o *model.Tiling) { o.Keep = model.KeepOut }, false},
		{"longer pieces", func(o *model.Tiling) { o.Moved++; o.MLPRows *= 2 }, false},
	} {
		other := is
		if c.change(&other); serves(is, other) != c.want {
			t.Errorf("%s: %v", c.name, !c.want)
		}
	}
	w, p := on7b(32768), h100(72*gib, 512*gib)
	shard := w.Desc.L
	w.Forced.Tile, w.Forced.Shard, w.Peers, w.Ranks = 1024, &shard, 2, 2
	p.Rates.Link = 200e9
	start := time.Now()
	c, err := p.choosing(w)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.within(p.Limits); err != nil || len(c.z.costs) > 20 {
		t.Errorf("%d plans counted in %s, %v", len(c.z.costs), time.Since(start), err)
	}
}
