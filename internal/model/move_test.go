package model_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
	"longlora/internal/testkit/backend"
)

// gradients are those of one step of a small random model, and its loss.
func gradients(t *testing.T, be ops.Backend, c attending, tl model.Tiling, how ...func(*model.Runner)) (grads [][]float32, loss float64) {
	t.Helper()
	b, d := c.batch, model.Desc{C: 32, F: 40, L: 7, H: 4, Hkv: 2, D: 8, V: 50, Eps: 1e-5, Windows: c.windows}
	size := int64(16<<20) + int64(len(b.IDs))*20000
	arena := func(s ops.Space) *ops.Arena {
		a, err := ops.NewArena(be, "test", s, size)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Free(be) })
		return a
	}
	targets := []string{"self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"}
	tr := lora.Fresh{Embed: true, Norms: true, Rank: 2, Alpha: 4, Targets: []string{"q_proj", "v_proj", "o_proj", "up_proj", "down_proj"}}.Train(d)
	for l, change := range map[int]func(path func(string) string){ // layers differ, the first of all
		0: func(path func(string) string) { delete(tr.LoRA, path("mlp.down_proj")) },
		2: func(path func(string) string) {
			tr.LoRA[path("self_attn.q_proj")] = model.LowRank{Rank: 5, Scale: 0.5}
			tr.LoRA[path("mlp.gate_proj")] = model.LowRank{Rank: 1, Scale: 3}
		},
		3: func(path func(string) string) { tr.Whole[path("mlp.gate_proj")+".weight"] = true },
		4: func(path func(string) string) {
			for _, t := range targets {
				delete(tr.LoRA, path(t))
			}
		},
	} {
		change(func(t string) string { return fmt.Sprintf("model.layers.%d.%s", l, t) })
	}
	mem := model.Memory{Params: arena(ops.Device), Stream: tl.Stream}
	if tl.Stream > 0 {
		mem.Waiting, mem.Slots = arena(ops.Host), arena(ops.Device)
	}
	m, err := model.New(be, d, tr, load.Random(d, 0.3, 5), mem)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, p := range m.Params.List {
		if p.Name[len(p.Name)-13:] == "lora_B.weight" || p.Name[len(p.Name)-13:] == "lora_A.weight" {
			v := make([]float32, p.Value.Elems())
			for i := range v {
				v[i] = float32(0.1 * r.NormFloat64())
			}
			m.Params.Set(p, v)
		}
	}
	run := model.NewRunner(m, be, c.spec, model.Rope{Inv: []float32{1, 0.3, 0.1, 0.03}, Scale: 1}, tl, arena(ops.Device), arena(ops.Host))
	for _, f := range how {
		f(run)
	}
	for range 2 { // the second step finds the first one's memory
		m.Params.ZeroGrad()
		run.Step(b, 0.01)
		if loss, err = run.Loss(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range m.Params.List {
		g, err := m.Params.Get(p.Grad)
		if err != nil {
			t.Fatal(err)
		}
		grads = append(grads, g)
	}
	if err := m.Release(); err != nil {
		t.Error(err)
	}
	return grads, loss
}

// attending is a way of attending over a batch.
type attending struct {
	name    string
	spec    s2attn.Spec
	batch   *model.Batch
	windows []int // by layer
}

func attendings() []attending {
	r := rand.New(rand.NewPCG(3, 4))
	const n = 70
	b := &model.Batch{Docs: []int32{0, n}}
	for range n {
		b.IDs, b.Targets = append(b.IDs, int32(r.IntN(50))), append(b.Targets, int32(r.IntN(50)))
	}
	cut := &model.Batch{IDs: b.IDs, Targets: b.Targets, Docs: []int32{0, 9, 33, n}}
	all, some := []int{13, 13, 13, 13, 13, 13, 13}, []int{0, 9, 30, 0, 9, 0, 12}
	full, split := s2attn.Spec{Mode: s2attn.Full}, func(g int) s2attn.Spec { return s2attn.Spec{Mode: s2attn.Split, Group: g} }
	return []attending{{"split", split(16), b, nil}, {"cut", split(20), cut, nil}, {"full", full, b, nil},
		{"windows", split(16), b, all}, {"cut windows", split(16), cut, all}, {"some windows", split(20), cut, some}, {"some windows, some full", full, b, some},
		{"long windows", full, b, []int{0, 100, 100, 0, 3, 100, 2}}}
}

// Whatever a layer keeps, makes again or moves to host memory, and however late copies are done, gradients are the
// same bits for one tile length.
func TestKeptAndMoved(t *testing.T) {
	ways := map[string][2]func() ops.Backend{"cpu": {func() ops.Backend { return cpu.New(2) }, func() ops.Backend { return backend.NewLate() }}}
	for _, b := range backend.GPU(t) {
		ways[b.Name()] = [2]func() ops.Backend{func() ops.Backend { return b }, func() ops.Backend { return b }}
	}
	for name, be := range ways {
		for _, c := range attendings() {
			for _, tile := range []int{len(c.batch.IDs), 32, 11} {
				t.Run(fmt.Sprintf("%s/%s/tile=%d", name, c.name, tile), func(t *testing.T) { keptAndMoved(t, be[0], be[1], c, tile) })
			}
		}
	}
}

// keptAndMoved holds every policy to what keeping all gives.
func keptAndMoved(t *testing.T, plain, judged func() ops.Backend, c attending, tile int) {
	want, loss := gradients(t, plain(), c, model.Tiling{Tile: tile, MLPRows: tile, HeadRows: 32})
	for _, keep := range []model.Keep{model.KeepAll, model.KeepAttn, model.KeepOut, model.KeepInput} {
		for _, k := range [][2]int{{0, 0}, {1, 0}, {2, 3}, {4, 6}} {
			tl := model.Tiling{Tile: tile, Keep: keep, Moved: k[0], More: k[1], MLPRows: tile, HeadRows: 32}
			t.Run(fmt.Sprintf("%s,more=%d,moved=%d", keep, tl.More, tl.Moved), func(t *testing.T) {
				got, l := gradients(t, judged(), c, tl)
				if what := differ(got, want); what != "" || l != loss {
					t.Errorf("loss %g, want %g; %s", l, loss, what)
				}
			})
		}
	}
}

// Wherever frozen weights wait, and however late they come, gradients are the same bits: of one step after another, of
// several tiles, with activations moved beside.
func TestStreamed(t *testing.T) {
	ways := map[string][2]func() ops.Backend{"cpu": {func() ops.Backend { return cpu.New(2) }, func() ops.Backend { return backend.NewLate() }}}
	for _, b := range backend.GPU(t) {
		ways[b.Name()] = [2]func() ops.Backend{func() ops.Backend { return b }, func() ops.Backend { return b }}
	}
	for name, be := range ways {
		for _, c := range attendings()[:3] {
			for _, tile := range []int{len(c.batch.IDs), 32, 11} {
				want, loss := gradients(t, be[0](), c, model.Tiling{Tile: tile, MLPRows: tile, HeadRows: 32})
				for stream := 1; stream <= 7; stream++ {
					tl := model.Tiling{Tile: tile, Keep: model.Keep(stream % 4), Moved: stream % 3, Stream: stream, MLPRows: tile, HeadRows: 32}
					got, l := gradients(t, be[1](), c, tl)
					if what := differ(got, want); what != "" || l != loss {
						t.Errorf("%s, %s, %+v: loss %g, want %g; %s", name, c.name, tl, l, loss, what)
					}
				}
			}
		}
	}
}

// Where one memory has several names, each name's time is over before the next one's begins: with memory of its own for
// every name, NaN where nothing was written, a step has the same bits.
func TestSharedMemory(t *testing.T) {
	apart := func(r *model.Runner) {
		nan := make([]float32, 4<<20)
		for i := range nan {
			nan[i] = float32(math.NaN())
		}
		mark := r.Act.Mark()
		r.B.Upload(r.Act.New(tensor.F32, len(nan)), unsafe.Slice((*byte)(unsafe.Pointer(&nan[0])), 4*len(nan)))
		r.Act.Release(mark)
		r.Apart()
	}
	for _, c := range attendings() {
		for _, be := range []func() ops.Backend{func() ops.Backend { return cpu.New(2) }, func() ops.Backend { return optest.Plain(cpu.New(2)) }} {
			for _, tl := range []model.Tiling{{Tile: 70, MLPRows: 32, Keep: model.KeepAll}, {Tile: 32, MLPRows: 32, Keep: model.KeepOut, More: 2, Moved: 2},
				{Tile: 11, MLPRows: 4, Keep: model.KeepInput}} {
				tl.HeadRows = 32
				want, loss := gradients(t, be(), c, tl)
				got, l := gradients(t, be(), c, tl, apart)
				if what := differ(got, want); what != "" || l != loss || math.IsNaN(l) {
					t.Errorf("%s, %s, %+v: loss %g, with memory of its own for every name %g; %s", c.name, be().Name(), tl, loss, l, what)
				}
			}
		}
	}
}

// Gradients do not depend on the tile's length but for rounding.
func TestTilesAgree(t *testing.T) {
	for _, c := range attendings() {
		n := len(c.batch.IDs)
		want, _ := gradients(t, cpu.New(2), c, model.Tiling{Tile: n, MLPRows: n, HeadRows: 32})
		for _, tile := range []int{32, 16, 11} {
			got, _ := gradients(t, cpu.New(2), c, model.Tiling{Tile: tile, MLPRows: tile, HeadRows: 32})
			for i := range want {
				if e := testkit.Relative(got[i], want[i]); !(e < 5e-6) {
					t.Errorf("%s, tile %d: gradient %d differs from one tile's by %.3g", c.name, tile, i, e)
				}
			}
		}
	}
}

// On a GPU too, at lengths where a tile is thousands of tokens: the tile's length may change a gradient by no more
// than bfloat16 changes it.
func TestTilesAgreeBF16(t *testing.T) {
	found := backend.GPU(t)
	if len(found) == 0 {
		t.Skip("no GPU here")
	}
	for _, c := range []struct {
		n, group int
		windows  []int
		tiles    []int
	}{{8192, 1024, nil, []int{2048, 1024, 512, 300}}, {65536, 16384, nil, []int{16384, 4096}},
		{8192, 1024, []int{0, 700, 1500, 0, 700, 4000, 700}, []int{2048, 1024, 300}}, {65536, 16384, []int{4096, 4096, 4096, 4096, 4096, 4096, 4096}, []int{16384, 3000}}} {
		r := rand.New(rand.NewPCG(5, 6))
		b := &model.Batch{Docs: []int32{0, int32(c.n)}}
		for range c.n {
			b.IDs, b.Targets = append(b.IDs, int32(r.IntN(50))), append(b.Targets, int32(r.IntN(50)))
		}
		a := attending{spec: s2attn.Spec{Mode: s2attn.Split, Group: c.group}, batch: b, windows: c.windows}
		whole := model.Tiling{Tile: c.n, MLPRows: c.n, HeadRows: 1024}
		exact, _ := gradients(t, cpu.New(runtime.NumCPU()), a, whole)
		want, _ := gradients(t, found[0], a, whole)
		for _, tile := range c.tiles {
			got, _ := gradients(t, found[0], a, model.Tiling{Tile: tile, Keep: model.KeepAttn, Moved: 2, MLPRows: tile, HeadRows: 300})
			worst := 0.0
			for i := range want {
				bf16 := testkit.Relative(want[i], exact[i])
				e := testkit.Relative(got[i], want[i])
				if !(e <= 1.5*bf16) {
					t.Errorf("%d tokens, windows %v, tile %d: gradient %d differs from one tile's by %.3g, that one from float32's by %.3g", c.n, c.windows, tile, i, e, bf16)
				}
				worst = max(worst, e/bf16)
			}
			t.Logf("%d tokens, windows %v, tile %d: at most %.2f of bfloat16's own error", c.n, c.windows, tile, worst)
		}
	}
}

// differ says which gradient is not the same bits.
func differ(got, want [][]float32) string {
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			return fmt.Sprintf("gradient %d differs by %.3g", i, testkit.Relative(got[i], want[i]))
		}
	}
	return ""
}
