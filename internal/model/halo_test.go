package model

import (
	"fmt"
	"strings"
	"testing"

	"longlora/internal/s2attn"
	"longlora/internal/testkit/table"
)

// What tiles need, keep and owe, as a table.
func TestSpans(t *testing.T) {
	split := func(g int) s2attn.Spec { return s2attn.Spec{Mode: s2attn.Split, Group: g} }
	var b strings.Builder
	for _, c := range []struct {
		what string
		d    Desc
		spec s2attn.Spec
		n, t int
		docs []int32
	}{
		{"whole groups a tile", Desc{L: 1, H: 4, Hkv: 4}, split(8), 32, 16, nil},
		{"half a group a tile", Desc{L: 1, H: 4, Hkv: 4}, split(8), 24, 4, nil},
		{"keys of one head for plain and shifted queries", Desc{L: 1, H: 4, Hkv: 1}, split(8), 20, 6, nil},
		{"three runs of heads", Desc{L: 1, H: 9, Hkv: 3}, split(8), 20, 8, nil},
		{"documents", Desc{L: 1, H: 2, Hkv: 2}, split(8), 30, 10, []int32{0, 7, 19, 30}},
		{"a window", Desc{L: 1, H: 2, Hkv: 1, Windows: []int{6}}, split(8), 24, 8, nil},
		{"a window longer than a tile", Desc{L: 1, H: 2, Hkv: 1, Windows: []int{12}}, split(8), 20, 5, []int32{0, 14, 20}},
		{"one tile", Desc{L: 1, H: 2, Hkv: 2}, split(8), 20, 20, nil},
	} {
		if c.docs == nil {
			c.docs = []int32{0, int32(c.n)}
		}
		g := (&geometry{n: c.n, t: c.t, docs: c.docs}).attend(c.d, c.spec)
		x := g.ways[0]
		fmt.Fprintf(&b, "%s: %d of %d heads, %v, documents %v, tiles of %d\n", c.what, c.d.Hkv, c.d.H, x.spec, c.docs, c.t)
		fmt.Fprintf(&b, "%8s %8s %8s %8s %8s %6s\n", "tile", "heads", "needs", "keeps", "owed", "slot")
		slots := x.slots()
		for i := range g.tiles() {
			t0, t1 := g.tile(i)
			for r, run := range x.runs {
				fmt.Fprintf(&b, "%8v %8v %8v %8v %8v %6d\n", span{t0, t1}, span{run.h0, run.h1}, x.needs(i, r), x.keeps(i, r), x.owed(i, r), slots[i][r])
			}
		}
		fmt.Fprintf(&b, "kept in all %v, the longest window %d\n\n", slots[g.tiles()], x.window())
	}
	table.Hold(t, "spans.txt", b.String())
}

// String is for tables: "8-16", or "-" for no token.
func (s span) String() string {
	if s.n() == 0 {
		return "-"
	}
	return fmt.Sprintf("%d-%d", s.lo, s.hi)
}

// Every cell of a step comes after those that it needs something of: its tile's cell before, those that made its halo, and
// on the way back those that owe its tile gradients. Each tile goes back once through every layer.
func TestCellsComeAfterWhatTheyNeed(t *testing.T) {
	sequences(t, 60, func(t *testing.T, d Desc, g *geometry) {
		at, n := map[cell]int{}, 0
		after := func(c, needed cell) {
			if k, ok := at[needed]; !ok || k >= at[c] {
				t.Errorf("%v comes before %v, of which it needs something", c, needed)
			}
		}
		madeKV := func(c cell) cell { // the cell that first made a tile's keys and values
			p := keeping
			if c.tile+1 < g.tiles() {
				if p = forward; c.layer == d.L-1 {
					p = halo
				}
			}
			return cell{p, c.tile, c.layer}
		}
		for c := range stepCells(g.tiles(), d.L) {
			at[c] = n
			n++
			x := g.reach[c.layer]
			t0, t1 := g.tile(c.tile)
			for r := range x.runs {
				for j := range c.tile {
					if _, end := g.tile(j); x.needs(c.tile, r).n() > 0 && end > x.needs(c.tile, r).lo {
						after(c, madeKV(cell{tile: j, layer: c.layer}))
					}
				}
				for j := c.tile + 1; c.phase == back && j < g.tiles(); j++ {
					if s := x.needs(j, r); s.n() > 0 && s.lo < t1 && s.hi > t0 {
						after(c, cell{back, j, c.layer})
					}
				}
			}
			if c.layer > 0 && c.phase == halo {
				after(c, cell{forward, c.tile, c.layer - 1})
			} else if c.layer > 0 && c.phase != back {
				after(c, cell{c.phase, c.tile, c.layer - 1})
			}
			if c.phase == back {
				after(c, cell{keeping, c.tile, c.layer})
			}
			if c.phase == back && c.layer+1 < d.L {
				after(c, cell{back, c.tile, c.layer + 1})
			}
		}
		if want := (3*g.tiles() - 1) * d.L; n != want || len(at) != n {
			t.Errorf("%d cells, %d of them different, want %d", n, len(at), want)
		}
	})
}
