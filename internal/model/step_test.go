package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
	"longlora/internal/testkit/backend"
)

// small is a model of two layers with everything that a model may have.
var small = model.Desc{C: 16, F: 20, L: 2, H: 4, Hkv: 2, D: 4, V: 23, Eps: 1e-5, Bias: [8]bool{true, true, true, true, true, true, true}}

var rope = model.Rope{Inv: []float32{1, 0.1}, Scale: 1}

// adapted trains low-rank terms of every linear layer, embedding and norms.
func adapted(d model.Desc, drop float64) model.Train {
	return lora.Fresh{Rank: 3, Alpha: 2, Drop: drop, Targets: d.Targets(false), Embed: true, Norms: true}.Train(d)
}

// arenas takes room on a backend for a model, a step and what waits on the host.
func arenas(t testing.TB, be ops.Backend, size int64) (params, act, host *ops.Arena) {
	t.Helper()
	var all [3]*ops.Arena
	for i, s := range []ops.Space{ops.Device, ops.Device, ops.Host} {
		a, err := ops.NewArena(be, "test", s, size)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Free(be) })
		all[i] = a
	}
	return all[0], all[1], all[2]
}

// setUp is a model whose every trained tensor is random: norms round 1, the others round 0 or round the base.
func setUp(t *testing.T, d model.Desc, tr model.Train, spec s2attn.Spec, tl model.Tiling) (*model.Runner, *model.Params) {
	t.Helper()
	return setUpOn(t, cpu.New(1), d, tr, spec, tl)
}

func setUpOn(t *testing.T, be ops.Backend, d model.Desc, tr model.Train, spec s2attn.Spec, tl model.Tiling) (*model.Runner, *model.Params) {
	t.Helper()
	params, act, halo := arenas(t, be, 4<<20)
	m, err := model.New(be, d, tr, load.Random(d, 0.25, 5), model.Memory{Params: params})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Params.List {
		v := values(t, m.Params, p.Value)
		for i := range v {
			v[i] += float32(0.2 * r.NormFloat64())
		}
		m.Params.Set(p, v)
	}
	turned := model.Rope{Inv: rope.Inv[:d.RotaryDim()/2], Scale: rope.Scale}
	return model.NewRunner(m, be, spec, turned, tl, act, halo), m.Params
}

func values(t *testing.T, ps *model.Params, x ops.Tensor) []float32 {
	t.Helper()
	v, err := ps.Get(x)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// step gives a step's loss and every gradient.
func step(t *testing.T, r *model.Runner, ps *model.Params, scale float32, batches ...*model.Batch) (loss float64, grads [][]float32) {
	t.Helper()
	ps.ZeroGrad()
	for _, b := range batches {
		r.Step(b, scale)
	}
	loss, err := r.Loss()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps.List {
		grads = append(grads, values(t, ps, p.Grad))
	}
	return loss, grads
}

// randomBatch is documents of these lengths, a fifth of whose tokens are not scored.
func randomBatch(seed uint64, v int, keys bool, docs ...int) *model.Batch {
	r := rand.New(rand.NewPCG(seed, 9))
	b := &model.Batch{Docs: []int32{0}}
	for _, n := range docs {
		for p := range n {
			target := int32(r.IntN(v))
			if r.IntN(5) == 0 || p+1 == n {
				target = -1
			}
			b.IDs, b.Targets = append(b.IDs, int32(r.IntN(v))), append(b.Targets, target)
			if keys {
				b.Keys = append(b.Keys, ops.DropKey(seed, 1, 2, int32(p)))
			}
		}
		b.Docs = append(b.Docs, int32(len(b.IDs)))
	}
	return b
}

// Every gradient is the slope of the loss, by differences along a random direction, whatever is trained and however the
// step attends and is tiled.
func TestGradientsAreSlopes(t *testing.T) {
	tied, windows := small, small
	tied.Tied = true
	windows.Windows = []int{7, 0}
	full, split := s2attn.Spec{Mode: s2attn.Full}, s2attn.Spec{Mode: s2attn.Split, Group: 9}
	whole, tiles := model.Tiling{Tile: 41, MLPRows: 41, HeadRows: 41}, model.Tiling{Tile: 6, Keep: model.KeepInput, MLPRows: 4, HeadRows: 5}
	type kase struct {
		name string
		d    model.Desc
		tr   model.Train
		spec s2attn.Spec
		tl   model.Tiling
		keys bool
		docs []int
	}
	cases := []kase{
		{"every weight", small, model.Train{Full: true}, full, whole, false, []int{41}},
		{"every weight, in groups and tiles", small, model.Train{Full: true}, split, tiles, false, []int{41}},
		{"tied, cut", tied, model.Train{Full: true}, split, tiles, false, []int{1, 13, 27}},
		{"an adapter", small, adapted(small, 0), split, whole, false, []int{41}},
		{"an adapter, tied, dropout", tied, adapted(tied, 0.3), split, tiles, true, []int{14, 27}},
		{"a window", windows, adapted(windows, 0), full, tiles, false, []int{30, 11}},
		{"rolled", small, adapted(small, 0), s2attn.Spec{Mode: s2attn.Roll, Group: 10}, whole, false, []int{40}},
	}
	for name, d := range families() {
		cases = append(cases, kase{name, d, model.Train{Full: true}, split, tiles, false, []int{13, 28}},
			kase{name + ", an adapter", d, adapted(d, 0), split, whole, false, []int{41}})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, ps := setUp(t, c.d, c.tr, c.spec, c.tl)
			b := randomBatch(3, c.d.V, c.keys, c.docs...)
			const scale = 0.5
			_, grads := step(t, r, ps, scale, b)
			rng := rand.New(rand.NewPCG(7, 8))
			for i, p := range ps.List {
				at := values(t, ps, p.Value)
				u := make([]float64, len(at))
				want, size := 0.0, 0.0
				for j := range u {
					u[j] = rng.NormFloat64()
					want += u[j] * float64(grads[i][j])
					size += float64(grads[i][j]) * float64(grads[i][j])
				}
				slope := func(h float64) float64 {
					var loss [2]float64
					for k, h := range []float64{h, -h} {
						v := make([]float32, len(at))
						for j := range v {
							v[j] = at[j] + float32(h*u[j])
						}
						ps.Set(p, v)
						loss[k], _ = step(t, r, ps, scale, b)
					}
					ps.Set(p, at)
					return scale * (loss[0] - loss[1]) / (2 * h)
				}
				const h = 1.0 / 320
				got := (4*slope(h) - slope(2*h)) / 3 // the error of third order cancels
				// A loss of some 100 has float32's 1e-5, and h divides it; a slope is about as large as the gradient.
				if size = math.Sqrt(size); !(math.Abs(got-want) <= 5e-3*size+5e-3) || size < 1e-2 {
					t.Errorf("%s: the slope is %v, the gradient says %v; its norm is %v", p.Name, got, want, size)
				}
			}
		})
	}
}

// Documents that are packed together have the losses and gradients that each has alone.
func TestPackedIsAlone(t *testing.T) {
	for _, c := range []struct {
		windows []int
		spec    s2attn.Spec
	}{{nil, s2attn.Spec{Mode: s2attn.Full}}, {nil, s2attn.Spec{Mode: s2attn.Split, Group: 9}}, {[]int{5, 12}, s2attn.Spec{Mode: s2attn.Full}}} {
		d := small
		d.Windows = c.windows
		packed := randomBatch(4, d.V, true, 17, 1, 33, 8)
		var alone []*model.Batch
		for i := range len(packed.Docs) - 1 {
			lo, hi := packed.Docs[i], packed.Docs[i+1]
			alone = append(alone, &model.Batch{IDs: packed.IDs[lo:hi], Targets: packed.Targets[lo:hi], Keys: packed.Keys[lo:hi], Docs: []int32{0, hi - lo}})
		}
		n := len(packed.IDs)
		r, ps := setUp(t, d, adapted(d, 0.2), c.spec, model.Tiling{Tile: n, MLPRows: n, HeadRows: n})
		loss, want := step(t, r, ps, 1, alone...)
		for _, tile := range []int{n, 20, 7} {
			r, ps := setUp(t, d, adapted(d, 0.2), c.spec, model.Tiling{Tile: tile, MLPRows: tile, HeadRows: tile})
			got, grads := step(t, r, ps, 1, packed)
			if !(math.Abs(got-loss) <= 1e-6*loss) {
				t.Errorf("%+v, tile %d: the loss is %v, alone %v", c, tile, got, loss)
			}
			for i, p := range ps.List {
				if e := testkit.Relative(grads[i], want[i]); !(e < 2e-6) {
					t.Errorf("%+v, tile %d: %s differs by %g", c, tile, p.Name, e)
				}
			}
		}
	}
}

// What a batch scores is the step's loss; a sequence that is appended to in pieces has the same probabilities.
func TestScoreAndSession(t *testing.T) {
	d := small
	d.Windows = []int{11, 0}
	const n = 40
	b := randomBatch(6, d.V, false, n)
	r, ps := setUp(t, d, adapted(d, 0), s2attn.Spec{Mode: s2attn.Full}, model.Tiling{Tile: 9, MLPRows: 9, HeadRows: 4})
	nll, err := r.Score(b)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, x := range nll {
		if b.Targets[i] < 0 && x != 0 {
			t.Errorf("token %d is not scored and has the loss %v", i, x)
		}
		sum += float64(x)
	}
	if loss, _ := step(t, r, ps, 1, b); !(math.Abs(loss-sum) < 1e-6*sum) {
		t.Errorf("the step's loss is %v, the scores' sum %v", loss, sum)
	}
	s := r.NewSession(n)
	defer s.Close()
	for at := 0; at < n; {
		end := min(n, at+1+at%13)
		if err := s.Append(b.IDs[at:end]...); err != nil {
			t.Fatal(err)
		}
		at = end
		logits, err := s.Logits()
		if err != nil {
			t.Fatal(err)
		}
		z, top := 0.0, 0
		for i, x := range logits {
			z += math.Exp(float64(x))
			if x > logits[top] {
				top = i
			}
		}
		if y := b.Targets[end-1]; y >= 0 {
			if got := math.Log(z) - float64(logits[y]); !(math.Abs(got-float64(nll[end-1])) < 1e-5) {
				t.Errorf("after %d tokens: %v, scored %v", end, got, nll[end-1])
			}
		}
		if best, err := s.Best(); err != nil || int(best) != top {
			t.Errorf("after %d tokens: the best is %d, want %d; %v", end, best, top, err)
		}
	}
	if err := s.Append(1); err == nil {
		t.Error("a token more than there is room for")
	}
}

// Counting arenas say to the byte what a step takes from real ones.
func TestSizeIsCounted(t *testing.T) {
	for _, windows := range [][]int{nil, {7, 0, 20, 0, 9, 0}} {
		d := small
		d.L, d.Windows = 6, windows
		for _, tl := range []model.Tiling{{Tile: 60}, {Tile: 16, Keep: model.KeepAttn, More: 2}, {Tile: 7, Keep: model.KeepOut, Moved: 3}, {Tile: 7, Keep: model.KeepInput, More: 3, Moved: 1}} {
			tl.MLPRows, tl.HeadRows = min(tl.Tile, 12), min(tl.Tile, 12)
			peaks := func(be ops.Backend, params, act, host *ops.Arena, run func(*model.Runner, *model.Batch)) string {
				m, err := model.New(be, d, adapted(d, 0), load.Random(d, 0.2, 1), model.Memory{Params: params})
				if err != nil {
					t.Fatal(err)
				}
				run(model.NewRunner(m, be, s2attn.Spec{Mode: s2attn.Split, Group: 10}, rope, tl, act, host), randomBatch(2, d.V, false, 25, 35))
				return fmt.Sprint(params.Peak(), act.Peak(), host.Peak())
			}
			counter := ops.NewCounter(cpu.New(1).Act(), 0, ops.Rates{Linear: 1, Attention: 1, Bytes: 1, Moved: 1})
			counted := peaks(counter, ops.CountingArena("params", ops.Device), ops.CountingArena("act", ops.Device), ops.CountingArena("halo", ops.Host),
				func(r *model.Runner, b *model.Batch) { r.Size(b, true) })
			late := backend.NewLate()
			params, act, halo := arenas(t, late, 4<<20)
			if taken := peaks(late, params, act, halo, func(r *model.Runner, b *model.Batch) { r.Step(b, 1) }); taken != counted {
				t.Errorf("windows %v, %+v: taken %s, counted %s", windows, tl, taken, counted)
			}
		}
	}
}

// BenchmarkStep is a training step of the tiny shape over 2048 tokens in groups of a quarter, in one tile and in tiles.
func BenchmarkStep(bench *testing.B) {
	d, b := model.Shapes["tiny"], cpu.New(runtime.NumCPU())
	d.V = 4000 // the head would be most of it
	const n = 2048
	batch := randomBatch(1, d.V, false, n)
	for _, tile := range []int{n, n / 4} {
		bench.Run(fmt.Sprintf("tile=%d", tile), func(bench *testing.B) {
			params, act, halo := arenas(bench, b, 1<<30)
			m, err := model.New(b, d, adapted(d, 0), load.Random(d, 0.02, 1), model.Memory{Params: params})
			if err != nil {
				bench.Fatal(err)
			}
			inv := make([]float32, d.D/2)
			r := model.NewRunner(m, b, s2attn.Spec{Mode: s2attn.Split, Group: n / 4}, model.Rope{Inv: inv, Scale: 1},
				model.Tiling{Tile: tile, MLPRows: tile, HeadRows: 512}, act, halo)
			for bench.Loop() {
				r.Step(batch, 1)
			}
			bench.ReportMetric(n*float64(bench.N)/bench.Elapsed().Seconds(), "tokens/s")
		})
	}
}
