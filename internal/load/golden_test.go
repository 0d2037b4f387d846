package load_test

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
	"longlora/internal/testkit/backend"
)

// golden is a reference case.
type golden struct{ *testkit.Case }

func open(t *testing.T, name string) golden { return golden{testkit.Golden(t, name)} }

// row is one uncut row as a batch.
func row(ids []int32) *model.Batch {
	return sft([][]int32{ids}, []int{0})
}

// sft lays rows end to end; the first prompt tokens of each are not scored.
func sft(rows [][]int32, prompt []int) *model.Batch {
	b := &model.Batch{Docs: []int32{0}}
	for i, r := range rows {
		for t := range r {
			b.IDs = append(b.IDs, r[t])
			target := int32(-1)
			if t+1 < len(r) && t+1 >= prompt[i] {
				target = r[t+1]
			}
			b.Targets = append(b.Targets, target)
		}
		b.Docs = append(b.Docs, int32(len(b.IDs)))
	}
	return b
}

// opened is the case's model with its first adapter; a case without one trains every weight.
func (g golden) opened(t *testing.T) (*load.Base, model.Train) {
	t.Helper()
	adapter := filepath.Join(g.Dir, "adapter-init")
	if _, err := os.Stat(adapter); err != nil {
		adapter = ""
	}
	base, err := load.Open(filepath.Join(g.Dir, "model"), adapter)
	if err != nil {
		t.Fatal(err)
	}
	if adapter == "" {
		return base, model.Train{Full: true}
	}
	tr, err := base.Resume(0)
	if err != nil {
		t.Fatal(err)
	}
	return base, tr
}

func (g golden) runner(t *testing.T, be ops.Backend, spec s2attn.Spec, tl model.Tiling) (r *model.Runner, m *model.Model, done func()) {
	t.Helper()
	base, tr := g.opened(t)
	return g.run(t, be, base, tr, spec, tl)
}

// run makes a runner of an open model, which done closes.
func (g golden) run(t *testing.T, be ops.Backend, base *load.Base, tr model.Train, spec s2attn.Spec, tl model.Tiling) (r *model.Runner, m *model.Model, done func()) {
	t.Helper()
	var err error
	arenas := map[string]*ops.Arena{"params": nil, "act": nil, "halo": nil}
	for name := range arenas {
		space := ops.Device
		if name == "halo" {
			space = ops.Host
		}
		if arenas[name], err = ops.NewArena(be, name, space, 64<<20); err != nil {
			t.Fatal(err)
		}
	}
	if m, err = base.New(be, tr, model.Memory{Params: arenas["params"]}, 0); err != nil {
		t.Fatal(err)
	}
	r = model.NewRunner(m, be, spec, base.Rope(base.Positions, g.Ctx), tl, arenas["act"], arenas["halo"])
	return r, m, func() {
		if err := m.Release(); err != nil {
			t.Error(err)
		}
		for _, a := range arenas {
			a.Free(be)
		}
		base.Close()
	}
}

// kase is one reference case of a model.
type kase struct {
	kind  string
	spec  s2attn.Spec
	batch *model.Batch
	loss  float64
}

// cases are those that a reference case has values of.
func (g golden) cases(t *testing.T) []kase {
	t.Helper()
	ctx, group := g.Ctx, g.Group
	all := []kase{
		{"full", s2attn.Spec{Mode: s2attn.Full}, row(g.IDs[:ctx]), g.Full},
		{"split", s2attn.Spec{Mode: s2attn.Split, Group: group}, row(g.IDs[:ctx]), g.Split},
		{"roll", s2attn.Spec{Mode: s2attn.Roll, Group: group}, row(g.IDs[:ctx]), g.Roll},
		{"sft", s2attn.Spec{Mode: s2attn.Split, Group: group}, g.sftBatch(), g.SFTLoss},
		{"docs", s2attn.Spec{Mode: s2attn.Split, Group: group}, g.inDocuments(g.Docs), g.DocsLoss},
		{"batch.full", s2attn.Spec{Mode: s2attn.Full}, g.inDocuments(g.Rows), g.BatchFull},
		{"batch.split", s2attn.Spec{Mode: s2attn.Split, Group: group}, g.inDocuments(g.Rows), g.BatchSplit},
	}
	all = slices.DeleteFunc(all, func(c kase) bool { return c.loss == 0 })
	var fields map[string]any
	testkit.ReadJSON(t, filepath.Join(g.Dir, "expected.json"), &fields)
	for f := range fields {
		if kind, ok := strings.CutPrefix(f, "loss."); ok && !slices.ContainsFunc(all, func(c kase) bool { return c.kind == kind }) {
			t.Errorf("%s: nothing is held to %s", g.Dir, f)
		}
	}
	return all
}

// inDocuments is the stream's beginning as documents of these lengths.
func (g golden) inDocuments(lengths []int) *model.Batch {
	var docs [][]int32
	at := 0
	for _, n := range lengths {
		docs = append(docs, g.IDs[at:at+n])
		at += n
	}
	return sft(docs, make([]int, len(docs)))
}

// tilings are ways of carrying a case out.
func tilings(c kase, ctx, group int, tiles ...int) []model.Tiling {
	var out []model.Tiling
	for _, tile := range tiles {
		if c.spec.Mode == s2attn.Roll && tile < ctx {
			continue
		}
		for _, tl := range []model.Tiling{{Keep: model.KeepAll}, {Keep: model.KeepAttn}, {Keep: model.KeepOut}, {Keep: model.KeepInput}, {Keep: model.KeepAttn, More: 1}, {Keep: model.KeepInput, More: 1}} {
			tl.Tile, tl.MLPRows, tl.HeadRows = tile, min(tile, 50), min(tile, 33)
			if len(out)%2 == 1 { // the last layer's gate and up are then still there
				tl.MLPRows = tile
			}
			out = append(out, tl)
		}
	}
	return out
}

// half is every second one of the ways of carrying a case out, and of the next case the others: each tile and each policy
// of keeping comes in every case, each of the one with each of the other in every model, and by turns in every case.
func half(ways []model.Tiling, turn int) (out []model.Tiling) {
	for i, tl := range ways {
		if (i/6+i+turn)%2 == 0 { // of a tile there are six
			out = append(out, tl)
		}
	}
	return out
}

// errors are a step's errors against the reference: of every trained tensor's gradient, and the loss's.
func (g golden) errors(t *testing.T, be ops.Backend, c kase, tl model.Tiling) map[string]float64 {
	t.Helper()
	r, m, done := g.runner(t, be, c.spec, tl)
	defer done()
	scored := 0
	for _, y := range c.batch.Targets {
		if y >= 0 {
			scored++
		}
	}
	r.Step(c.batch, 1/float32(scored))
	sum, err := r.Loss()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{"loss": math.Abs(sum/float64(scored) - c.loss)}
	for _, p := range m.Params.List {
		ref, ok := g.Ref["grad."+c.kind+"."+p.Name]
		if !ok {
			t.Fatalf("no reference for %s", p.Name)
		}
		got, err := m.Params.Get(p.Grad)
		if err != nil {
			t.Fatal(err)
		}
		out[p.Name] = testkit.Relative(got, ref)
	}
	return out
}

var models = []string{"mha-linear", "gqa-llama3", "odd-heads-yarn", "ragged", "padded", "ragged-window"}

// Losses and gradients of every trained tensor against transformers and PEFT, for every way of carrying a step out.
func TestGolden(t *testing.T) {
	be := cpu.New(2)
	for i, name := range models {
		g := open(t, name)
		group := g.Group
		for j, c := range g.cases(t) {
			for _, tl := range half(tilings(c, g.Ctx, group, len(c.batch.IDs), group, group+7, group/2-3, 11), i+j) {
				for what, e := range g.errors(t, be, c, tl) {
					limit := 1e-4
					if what == "loss" {
						limit = 1e-5
					}
					if !(e <= limit) {
						t.Errorf("%s %s %+v: %s is off by %g", name, c.kind, tl, what, e)
					}
				}
			}
		}
	}
}

// scores are -log p of every token.
func (g golden) scores(t *testing.T, be ops.Backend, c kase) []float32 {
	t.Helper()
	n := len(c.batch.IDs)
	r, _, done := g.runner(t, be, c.spec, model.Tiling{Tile: n, MLPRows: n, HeadRows: n})
	defer done()
	nll, err := r.Score(c.batch)
	if err != nil {
		t.Fatal(err)
	}
	return nll
}

// plainly is what a step is off by whose every operation is done plainly in bfloat16, all kept and in one tile. A loss is
// one number and may come out right by chance: chance is the deviation of a mean over tokens whose errors are as large as
// the plain step's. TestLossBF16 judges losses by many draws.
func (g golden) plainly(t *testing.T, plain ops.Backend, c kase) (off map[string]float64, chance float64) {
	t.Helper()
	n := len(c.batch.IDs)
	off = g.errors(t, plain, c, model.Tiling{Tile: n, MLPRows: n, HeadRows: n})
	is, want, sum, scored := g.scores(t, plain, c), g.scores(t, cpu.New(2), c), 0.0, 0.0
	for i, y := range c.batch.Targets {
		if y >= 0 {
			e := float64(is[i]) - float64(want[i])
			sum, scored = sum+e*e, scored+1
		}
	}
	return off, math.Sqrt(sum) / scored
}

// judgeBF16 holds plain steps, in tiles and with little kept too, to twice what PyTorch is off by when everything is bfloat16
// there; and a GPU's steps to twice the larger of the two: either is one draw of what plain bfloat16 is off by, and may be lucky.
// Turn says which half of the ways is taken.
func (g golden) judgeBF16(t *testing.T, c kase, turn int, tiles ...int) {
	t.Helper()
	plain := optest.Plain(cpu.New(2))
	off, chance := g.plainly(t, plain, c)
	var torch map[string]map[string]float64
	testkit.ReadJSON(t, filepath.Join(g.Dir, "bf16.json"), &torch)
	for _, be := range append(backend.GPU(t), plain) {
		yard := maps.Clone(torch[c.kind])
		if len(yard) != len(off) {
			t.Errorf("%s: PyTorch's errors of %d tensors, want %d", c.kind, len(yard), len(off))
		}
		if be.Name() != "plain" {
			if c.spec.Mode == s2attn.Roll {
				continue
			}
			for what, e := range off {
				yard[what] = max(yard[what], e)
			}
		}
		worst, of := 0.0, ""
		in := tiles
		if be.Name() == "plain" && c.spec.Mode != s2attn.Roll { // one tile is what yard is of
			in = tiles[1:]
		}
		for _, tl := range half(tilings(c, g.Ctx, g.Group, in...), turn) {
			for what, e := range g.errors(t, be, c, tl) {
				limit := 2 * yard[what]
				if what == "loss" { // one draw: past two deviations in one of 22, past four never
					limit = max(limit, 4*chance)
				}
				if e/limit > worst {
					worst, of = e/limit, what
				}
				if !(e <= limit) {
					t.Errorf("%s: %s %+v: %s is off by %g, at most %g", be.Name(), c.kind, tl, what, e, limit)
				}
			}
		}
		t.Logf("%s: %s: at worst %.2f of a limit, of %s", be.Name(), c.kind, worst, of)
	}
}

// In bfloat16 too, for every way of carrying a step out.
func TestGoldenBF16(t *testing.T) {
	if testing.Short() {
		t.Skip("with the C kernels; without them these take minutes")
	}
	for i, name := range models {
		t.Run(name, func(t *testing.T) {
			g := open(t, name)
			for j, c := range g.cases(t) {
				g.judgeBF16(t, c, i+j, len(c.batch.IDs), g.Group/2-3)
			}
		})
	}
}

func (g golden) sftBatch() *model.Batch {
	var rows [][]int32
	for i, s := range g.SFT.Starts {
		rows = append(rows, g.IDs[s:s+g.SFT.Lengths[i]])
	}
	return sft(rows, g.SFT.Prompt)
}
