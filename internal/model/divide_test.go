package model_test

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"longlora/internal/dist"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
	"longlora/internal/testkit/backend"
)

// card is a device of whose memory only copies are made.
type card struct {
	ops.Card
	b *cpu.Backend
}

func (c card) Download(dst []byte, src ops.Tensor) error { return c.b.Download(dst, src) }
func (c card) Upload(dst ops.Tensor, src []byte)         { c.b.Upload(dst, src) }

// late is a link that uses memory as late as its contract lets it: what is taken comes with Wait, and is spoiled until then,
// and what is given must stay as it was until then.
type late struct {
	ops.Link
	t     *testing.T
	given map[ops.Passage]held
	taken map[ops.Passage]held
}

// meeting is a link whose ranks stand still until what they give is taken, and until they have what they take. That nobody
// waits for ever shows that all agree on one order of all messages; then GPUs may stand still anywhere, as where a
// kernel's code is loaded and the driver waits for all that is under way.
type meeting struct {
	t          *testing.T
	rank, size int
	*border
	n int64
}

// border is what all ends of a chain share.
type border struct {
	down, up []chan []float32 // [the rank before it]
	broken   chan struct{}
	once     sync.Once
}

// stuck fails the test, and lets everybody go.
func (y *meeting) stuck(what string, s ops.Side) {
	y.once.Do(func() {
		y.t.Errorf("rank %d of %d %s side %d for ever", y.rank, y.size, what, s)
		close(y.broken)
	})
}

func (y *meeting) Place() (rank, size int) { return y.rank, y.size }
func (y *meeting) Wait(ops.Passage)        {}

// patience is far more than a message takes.
const patience = 20 * time.Second

func (y *meeting) Give(to ops.Side, x ops.Tensor) ops.Passage {
	c := y.down[y.rank]
	if to == ops.Before {
		c = y.up[y.rank-1]
	}
	select {
	case c <- slices.Clone(x.F32()):
	case <-y.broken:
	case <-time.After(patience):
		y.stuck("gives to", to)
	}
	y.n++
	return ops.Passage{N: y.n, Side: to}
}

func (y *meeting) Take(from ops.Side, x ops.Tensor) ops.Passage {
	c := y.up[y.rank]
	if from == ops.Before {
		c = y.down[y.rank-1]
	}
	select {
	case got := <-c:
		copy(x.F32(), got)
	case <-y.broken:
	case <-time.After(patience):
		y.stuck("takes from", from)
	}
	y.n++
	return ops.Passage{N: y.n, Side: from, Taken: true}
}

// held is memory, and what it has to have, or will have.
type held struct{ at, want []float32 }

func (y *late) Give(to ops.Side, x ops.Tensor) ops.Passage {
	p := y.Link.Give(to, x)
	if y.given == nil {
		y.given = map[ops.Passage]held{}
	}
	y.given[p] = held{x.F32(), slices.Clone(x.F32())}
	return p
}

func (y *late) Take(from ops.Side, x ops.Tensor) ops.Passage {
	h := held{x.F32(), make([]float32, x.Elems())}
	for i := range h.at {
		h.at[i] = float32(math.NaN())
	}
	p := y.Link.Take(from, ops.Tensor{P: unsafe.Pointer(unsafe.SliceData(h.want)), DType: x.DType, Shape: x.Shape})
	if y.taken == nil {
		y.taken = map[ops.Passage]held{}
	}
	y.taken[p] = h
	return p
}

func (y *late) Wait(p ops.Passage) {
	y.Link.Wait(p)
	all := y.given
	if p.Taken {
		all = y.taken
	}
	for q, h := range all {
		switch {
		case q.Side != p.Side || q.N > p.N:
			continue
		case p.Taken:
			copy(h.at, h.want)
		case !slices.EqualFunc(h.at, h.want, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }):
			y.t.Errorf("what was given to side %d as number %d was written before it was sent", q.Side, q.N)
		}
		delete(all, q)
	}
}

// together has a chain of so many ranks do a step, and then score the first batch: what all add up to.
func together(t *testing.T, size int, d model.Desc, tr model.Train, spec s2attn.Spec, tl model.Tiling, worst bool, batches ...*model.Batch) (loss float64,
	grads [][]float32, nll []float32) {
	t.Helper()
	type part struct {
		r  *model.Runner
		ps *model.Params
		c  *dist.Chain
	}
	var parts []part
	all := &border{broken: make(chan struct{})}
	for range size {
		all.down, all.up = append(all.down, make(chan []float32)), append(all.up, make(chan []float32))
	}
	for rank, g := range dist.InProcess(size) {
		var be, own ops.Backend = cpu.New(1), cpu.New(1)
		switch size {
		case 2: // whose copies to host memory and back are late too
			own = backend.NewLate()
		case 3: // as cards are joined where there is no better way
			be = card{b: cpu.New(1)}
		}
		r, ps := setUpOn(t, own, d, tr, spec, tl)
		if err := g.Divide(size); err != nil {
			t.Fatal(err)
		}
		c := g.NewChain(be)
		var link ops.Link = c
		if size == 4 {
			link = &meeting{t: t, rank: rank, size: size, border: all}
		}
		r.Worst, r.Division = worst, model.Division{Rank: rank, Size: size, Link: &late{Link: link, t: t}}
		parts = append(parts, part{r, ps, c})
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() {
			l, g := step(t, p.r, p.ps, 1, batches...)
			s, err := p.r.Score(batches[0])
			p.c.Close()
			if l := p.r.Division.Link.(*late); len(l.given)+len(l.taken) > 0 {
				t.Errorf("%d were given and %d taken and not waited for", len(l.given), len(l.taken))
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			loss += l
			if grads == nil {
				grads, nll = g, s
				return
			}
			for i := range g {
				for j := range g[i] {
					grads[i][j] += g[i][j]
				}
			}
			for j := range s {
				nll[j] += s[j]
			}
		})
	}
	wg.Wait()
	return loss, grads, nll
}

// However many ranks divide a sequence, they add up to what one does: loss, every gradient, every score; with cuts, windows,
// odd lengths, spans shorter than a segment and than one token a rank, whatever is kept, and under full attention; in tiles
// too, which are shorter and longer than windows, segments and spans.
func TestDividedIsOne(t *testing.T) {
	split := func(g int) s2attn.Spec { return s2attn.Spec{Mode: s2attn.Split, Group: g} }
	full := s2attn.Spec{Mode: s2attn.Full}
	windows, one, many, deep := small, small, small, small
	windows.Windows = []int{7, 0}
	one.Hkv, many.Hkv = 1, 4
	deep.L, deep.Windows = 4, []int{1, 9, 0, 1} // the first layer and the last one need nothing
	type kase struct {
		name string
		d    model.Desc
		spec s2attn.Spec
		keep model.Keep
		docs []int
	}
	cases := []kase{
		{"whole groups", small, split(8), model.KeepAll, []int{48}},
		{"odd lengths", many, split(9), model.KeepAttn, []int{47}},
		{"one head for all", one, split(9), model.KeepOut, []int{41}},
		{"segments longer than spans", small, split(30), model.KeepInput, []int{43}},
		{"cuts", small, split(9), model.KeepAttn, []int{1, 13, 20, 7}},
		{"windows", windows, split(9), model.KeepInput, []int{30, 11}},
		{"only inner layers", deep, s2attn.Spec{Mode: s2attn.Full}, model.KeepAttn, []int{40}},
		{"only windows", deep, split(40), model.KeepAll, []int{40}},
		{"full", small, full, model.KeepAll, []int{45}},
		{"full, made again", many, full, model.KeepInput, []int{45}},
		{"full, cuts", small, full, model.KeepOut, []int{5, 21, 19}},
		{"full, windows", windows, full, model.KeepAttn, []int{44}},
		{"three tokens", small, split(2), model.KeepAll, []int{3}},
		{"one token after another", small, full, model.KeepInput, []int{1, 1, 2}},
	}
	for name, d := range families() {
		cases = append(cases, kase{name, d, split(9), model.KeepAttn, []int{13, 28}}, kase{name + ", full", d, full, model.KeepInput, []int{41}})
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			drop := 0.2 * float64(i%2)
			tr := adapted(c.d, drop)
			if i%3 == 0 {
				tr = model.Train{Full: true}
			}
			var batches []*model.Batch
			n := 0
			for k := range 2 { // two micro-batches, one after the other
				b := randomBatch(uint64(i+10*k), c.d.V, tr.Drop > 0, c.docs...)
				b.Targets[0] = 1
				batches, n = append(batches, b), len(b.IDs)
			}
			tl := model.Tiling{Keep: c.keep, MLPRows: 6, HeadRows: 5, More: i % 2, Moved: model.MostMoved(c.d.L)}
			for _, tl.Tile = range []int{n, 8, 5, 1 + i%3} { // all of a span, and less
				r, ps := setUp(t, c.d, tr, c.spec, tl)
				want, ref := step(t, r, ps, 1, batches...)
				all := norm(slices.Concat(ref...))
				scored, err := r.Score(batches[0])
				if err != nil {
					t.Fatal(err)
				}
				limit := 1e-6
				if tl.Tile < n { // products of four rows or fewer, as tiles end in, are rounded in another way
					limit = 3e-6
				}
				for _, size := range []int{2, 3, 4} {
					got, grads, nll := together(t, size, c.d, tr, c.spec, tl, i%2 == 1, batches...)
					if !(math.Abs(got-want) <= 1e-6*want) {
						t.Errorf("%d ranks, tile %d: the loss is %v, want %v", size, tl.Tile, got, want)
					}
					for i, p := range ps.List {
						own := norm(ref[i])
						if e := testkit.Relative(grads[i], ref[i]); !(e*own <= limit*(own+0.1*all)) { // of sums that cancel, little is left
							t.Errorf("%d ranks, tile %d: the gradient of %s is off by %g, its norm is %g of %g", size, tl.Tile, p.Name, e, own, all)
						}
					}
					if e := testkit.Relative(nll, scored); !(e <= limit) {
						t.Errorf("%d ranks, tile %d: the scores are off by %g", size, tl.Tile, e)
					}
				}
			}
		})
	}
}

func norm(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}

// Every rank takes what was counted for any of them, to the byte; of a shorter sequence with cuts, where room is for the
// worst ones, no more.
func TestDividedSizeIsCounted(t *testing.T) {
	d := small
	d.Windows = []int{7, 0}
	for _, spec := range []s2attn.Spec{{Mode: s2attn.Split, Group: 10}, {Mode: s2attn.Full}} {
		const n, size = 60, 3
		span := slices.Max(model.Spans(d, spec, randomBatch(1, d.V, false, n), size, true))
		for _, c := range []struct {
			worst bool
			tile  int
			keep  model.Keep
		}{{false, span, model.KeepAttn}, {true, span, model.KeepAttn}, {false, span - 1, model.KeepAll}, {true, span - 1, model.KeepInput},
			{true, 7, model.KeepAttn}, {true, 7, model.KeepAll}, {true, 4, model.KeepOut}, {false, 4, model.KeepInput}} {
			worst := c.worst
			tl := model.Tiling{Tile: c.tile, Keep: c.keep, MLPRows: 6, HeadRows: 5}
			take := func(rank int, r *model.Runner, docs ...int) int64 {
				r.Worst, r.Division = worst, model.Division{Rank: rank, Size: size}
				mark := r.Act.Peak()
				r.Size(randomBatch(1, d.V, false, docs...), true)
				return r.Act.Peak() - mark
			}
			counter := ops.NewCounter(cpu.New(1).Act(), 0, ops.Rates{Linear: 1, Attention: 1, Bytes: 1, Moved: 1})
			m, err := model.New(counter, d, adapted(d, 0), load.Random(d, 0.2, 1), model.Memory{Params: ops.CountingArena("params", ops.Device)})
			if err != nil {
				t.Fatal(err)
			}
			act := ops.CountingArena("act", ops.Device)
			want := take(1, model.NewRunner(m, counter, spec, rope, tl, act, ops.CountingArena("halo", ops.Host)), n)
			for rank := range size {
				r, _ := setUp(t, d, adapted(d, 0), spec, tl)
				if got := take(rank, r, n); got != want {
					t.Errorf("%v, %+v: rank %d takes %d bytes, counted %d", spec, c, rank, got, want)
				}
			}
			for short := 1; worst && short < n; short++ {
				r, _ := setUp(t, d, adapted(d, 0), spec, tl)
				if got := take(short%size, r, short/3, short-short/3); got > want {
					t.Errorf("%v, %+v: rank %d takes %d bytes for %d tokens, counted %d for %d", spec, c, short%size, got, short, want, n)
				}
			}
		}
	}
}
