package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/testkit/backend"
)

// sequences calls f with random sequences in tiles: every way of attending, documents cut anywhere, tiles of any length.
func sequences(t *testing.T, n int, f func(t *testing.T, d Desc, g *geometry)) {
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		heads := [][2]int{{1, 1}, {4, 4}, {4, 2}, {6, 2}, {5, 1}, {9, 3}, {12, 4}}[r.IntN(7)]
		d := Desc{L: 3, H: heads[0], Hkv: heads[1], D: 2}
		g := &geometry{docs: []int32{0}}
		for range 1 + r.IntN(4) {
			g.n += 1 + r.IntN(60)
			g.docs = append(g.docs, int32(g.n))
		}
		g.t = 1 + r.IntN(min(g.n, 40))
		spec := s2attn.Spec{Mode: s2attn.Mode(r.IntN(2)), Group: 2 + r.IntN(50)}
		if r.IntN(2) == 0 {
			d.Windows = []int{0, 1 + r.IntN(50), 1 + r.IntN(50)}
		}
		g.attend(d, spec)
		name := fmt.Sprintf("%d: %v, heads %v, windows %v, documents %v, tiles of %d", i, spec, heads, d.Windows, g.docs, g.t)
		t.Run(name, func(t *testing.T) { f(t, d, g) })
	}
}

// sees is the oracle: which keys the heads of a run see, by query.
func sees(d Desc, g *geometry, spec s2attn.Spec, run headRun) [][]bool {
	var docs []int
	for _, x := range g.docs {
		docs = append(docs, int(x))
	}
	masks := map[bool][][]bool{false: s2attn.Mask(spec, docs, false), true: s2attn.Mask(spec, docs, true)}
	out := make([][]bool, g.n)
	for q := range out {
		out[q] = make([]bool, g.n)
		for h := range d.H {
			if j := h * d.Hkv / d.H; j >= run.h0 && j < run.h1 {
				for k, on := range masks[s2attn.Shifted(h, d.H)][q] {
					out[q][k] = out[q][k] || on
				}
			}
		}
	}
	return out
}

// Key/value heads are divided into runs that serve the same classes of query heads, each head in one.
func TestHeadRuns(t *testing.T) {
	for h := 1; h <= 24; h++ {
		for hkv := 1; hkv <= h; hkv++ {
			if h%hkv != 0 {
				continue
			}
			next := 0
			for _, run := range headRuns(s2attn.Spec{Mode: s2attn.Split, Group: 8}, h, hkv) {
				if run.h0 != next || run.h1 <= run.h0 {
					t.Errorf("%d of %d: a run of [%d, %d), want one from %d on", h, hkv, run.h0, run.h1, next)
				}
				next = run.h1
				for j := run.h0; j < run.h1; j++ {
					plain, shifted := false, false
					for q := range h {
						if q*hkv/h == j {
							plain, shifted = plain || !s2attn.Shifted(q, h), shifted || s2attn.Shifted(q, h)
						}
					}
					if run.plain != plain || run.shifted != shifted {
						t.Errorf("%d of %d: head %d serves plain %v and shifted %v, its run says %v and %v", h, hkv, j, plain, shifted, run.plain, run.shifted)
					}
				}
			}
			if next != hkv {
				t.Errorf("%d of %d: runs up to head %d", h, hkv, next)
			}
		}
	}
}

// Tiles are the sequence, in order and once; documents are found by their tokens.
func TestTilesAndDocuments(t *testing.T) {
	sequences(t, 100, func(t *testing.T, _ Desc, g *geometry) {
		next := 0
		for i := range g.tiles() {
			t0, t1 := g.tile(i)
			if t0 != next || t1 <= t0 || t1-t0 > g.t || t1-t0 < g.t && t1 != g.n {
				t.Errorf("tile %d is [%d, %d)", i, t0, t1)
			}
			next = t1
			var want []int32
			for d := range len(g.docs) - 1 {
				lo, hi := int(g.docs[d]), int(g.docs[d+1])
				for p := lo; p < hi; p++ {
					if a, b := g.doc(p); a != lo || b != hi {
						t.Fatalf("token %d lies in [%d, %d), want [%d, %d)", p, a, b, lo, hi)
					}
				}
				if lo < t1 && hi > t0 {
					want = append(want, g.docs[d])
					if hi >= t1 {
						want = append(want, g.docs[d+1])
					}
				}
			}
			if got := g.docsOf(t0, t1); !slices.Equal(got, want) {
				t.Errorf("documents of [%d, %d) are %v, want %v", t0, t1, got, want)
			}
		}
		if next != g.n {
			t.Errorf("tiles end at %d of %d", next, g.n)
		}
	})
}

// A halo begins with the first token that any query from there on sees. However the sequence is cut, the halo that is
// planned for is as long.
func TestHaloIsWhatIsSeen(t *testing.T) {
	sequences(t, 150, func(t *testing.T, d Desc, g *geometry) {
		worst := *g
		worst.worst = true
		for _, x := range g.ways {
			w := newReach(&worst, x.spec, x.runs)
			for _, run := range x.runs {
				see := sees(d, g, x.spec, run)
				for p := 1; p < g.n; p++ {
					first := p
					for q := p; q < g.n; q++ {
						if k := slices.Index(see[q], true); k < first {
							first = k
						}
					}
					if got := x.haloLo(p, run); got != first {
						t.Fatalf("%v, heads [%d, %d): from token %d on %d is seen, the halo begins at %d", x.spec, run.h0, run.h1, p, first, got)
					}
					if got := w.haloLo(p, run); got > first {
						t.Fatalf("%v, heads [%d, %d): at token %d planned from %d on, seen from %d", x.spec, run.h0, run.h1, p, got, first)
					}
				}
			}
			most := 0
			for i := range g.tiles() {
				t0, t1 := g.tile(i)
				most = max(most, t1-t0+x.halo(i))
			}
			if x.window() != most || w.window() < most {
				t.Errorf("%v: a window of %d, want %d; planned %d", x.spec, x.window(), most, w.window())
			}
		}
	})
}

// What a store gives is what was put in: every tile's window has the keys and values of all tokens that its queries see,
// and on the way back each token's gradient is what all later tiles added, however late copies are done.
func TestStoreKeepsAndOwes(t *testing.T) {
	sequences(t, 150, func(t *testing.T, d Desc, g *geometry) {
		b := backend.NewLate()
		arena := func(space ops.Space) *ops.Arena {
			a, err := ops.NewArena(b, "test", space, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { a.Free(b) })
			return a
		}
		act := arena(ops.Device)
		s := newStore(b, g, heads{d.Hkv, d.D}, nil, act, arena(ops.Host), true)
		k, v := act.New(b.Act(), g.t, d.Hkv, d.D), act.New(b.Act(), g.t, d.Hkv, d.D)
		y := func(i int) at {
			t0, t1 := g.tile(i)
			return at{i, t0, t1}
		}
		wide := d.Hkv * d.D
		value := func(l, p, c int) float32 { return float32(1000*l + p + 1 + 500*c) } // of channel c of token p in layer l
		own := func(l int, a at) (ops.Tensor, ops.Tensor) {                           // the tile's keys and values, made again
			s.settle()
			kk, vv := s.own(l, a, k.Rows(0, a.t1-a.t0), v.Rows(0, a.t1-a.t0))
			for i := range kk.F32() {
				kk.F32()[i], vv.F32()[i] = value(l, a.t0+i/wide, i%wide), -value(l, a.t0+i/wide, i%wide)
			}
			return kk, vv
		}
		check := func(l int, a at, wk, wv ops.Tensor, k0 int) {
			for _, run := range g.reach[l].runs {
				for p := g.reach[l].haloLo(a.t0, run); p < a.t1; p++ {
					for c := run.h0 * d.D; c < run.h1*d.D; c++ {
						i, want := (p-k0)*wide+c, value(l, p, c)
						if p < k0 || wk.F32()[i] != want || wv.F32()[i] != -want {
							t.Fatalf("layer %d, tile %d: token %d's channel %d is %v and %v, want %v", l, a.i, p, c, wk.F32()[i], wv.F32()[i], want)
						}
					}
				}
			}
		}
		for i := range g.tiles() {
			for l := range d.L {
				kk, vv := own(l, y(i))
				s.keep(l, y(i), kk, vv)
				wk, wv, k0 := s.window(l, y(i), kk, vv)
				check(l, y(i), wk, wv, k0)
				s.ahead(l+1, y(i))
			}
		}
		want := make([][]float64, d.L) // [layer] of each token and channel
		for l := range want {
			want[l] = make([]float64, g.n*wide)
		}
		for i := g.tiles() - 1; i >= 0; i-- {
			a := y(i)
			s.aheadOwed(d.L-1, a)
			for l := d.L - 1; l >= 0; l-- {
				kk, vv := own(l, a)
				wk, wv, k0 := s.window(l, a, kk, vv)
				check(l, a, wk, wv, k0)
				s.grads(l, a)
				dk, dv := s.gradRows(l, a, span{k0, a.t1})
				if i+1 == g.tiles() {
					clear(dk.Rows(a.t0-k0, a.t1-k0).F32())
					clear(dv.Rows(a.t0-k0, a.t1-k0).F32())
				}
				for _, run := range g.reach[l].runs {
					for p := g.reach[l].haloLo(a.t0, run); p < a.t1; p++ {
						for c := run.h0 * d.D; c < run.h1*d.D; c++ {
							x := float32(1 + (i*31+p*7+c)%64) // whole numbers: sums are exact
							dk.F32()[(p-k0)*wide+c] += x
							dv.F32()[(p-k0)*wide+c] -= x
							want[l][p*wide+c] += float64(x)
						}
					}
				}
				for p := a.t0; p < a.t1; p++ {
					for c := range wide {
						if got := dk.F32()[(p-k0)*wide+c]; float64(got) != want[l][p*wide+c] || dv.F32()[(p-k0)*wide+c] != -got {
							t.Fatalf("layer %d: the gradients of token %d's channel %d are %v and %v, want %v", l, p, c, got, dv.F32()[(p-k0)*wide+c], want[l][p*wide+c])
						}
					}
				}
				s.owe(l, a)
			}
		}
	})
}
