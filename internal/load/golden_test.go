package load_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/cuda"
	"longlora/internal/ops/optest"
	"longlora/internal/s2attn"
)

type expected struct {
	Ctx, Group int
	Full       float64 `json:"loss.full"`
	Split      float64 `json:"loss.split"`
	Roll       float64 `json:"loss.roll"`
	SFTLoss    float64 `json:"loss.sft"`
	DocsLoss   float64 `json:"loss.docs"`
	Docs       []int   // lengths of the documents that a row is cut into
	SFT        struct {
		Lengths, Prompt []int
		Starts          []int `json:"row_starts"`
	}
}

type golden struct {
	dir  string
	want expected
	ids  []int32
	ref  map[string]ckpt.Tensor
}

func open(t *testing.T, name string) golden {
	t.Helper()
	g := golden{dir: filepath.Join("../../testdata/golden", name)}
	b, err := os.ReadFile(filepath.Join(g.dir, "expected.json"))
	if err == nil {
		err = json.Unmarshal(b, &g.want)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err = os.ReadFile(filepath.Join(g.dir, "tokens.bin"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(b); i += 2 {
		g.ids = append(g.ids, int32(binary.LittleEndian.Uint16(b[i:])))
	}
	f, err := ckpt.OpenSafetensors(filepath.Join(g.dir, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	g.ref = f.Tensors
	return g
}

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
	adapter := filepath.Join(g.dir, "adapter-init")
	if _, err := os.Stat(adapter); err != nil {
		adapter = ""
	}
	base, err := load.Open(filepath.Join(g.dir, "model"), adapter)
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
	if m, err = base.New(be, tr, arenas["params"], 0); err != nil {
		t.Fatal(err)
	}
	r = model.NewRunner(m, be, spec, base.Rope(base.Positions, g.want.Ctx), tl, arenas["act"], arenas["halo"])
	return r, m, func() {
		for _, a := range arenas {
			a.Free(be)
		}
		base.Close()
	}
}

func relative(got, want []float32) float64 {
	d, n := 0.0, 0.0
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d += e * e
		n += float64(want[i]) * float64(want[i])
	}
	return math.Sqrt(d / n)
}

// kase is one reference case of a model.
type kase struct {
	kind  string
	spec  s2attn.Spec
	batch *model.Batch
	loss  float64
}

// cases are those that a reference case has values of.
func (g golden) cases() []kase {
	ctx, group := g.want.Ctx, g.want.Group
	all := []kase{
		{"full", s2attn.Spec{Mode: s2attn.Full}, row(g.ids[:ctx]), g.want.Full},
		{"split", s2attn.Spec{Mode: s2attn.Split, Group: group}, row(g.ids[:ctx]), g.want.Split},
		{"roll", s2attn.Spec{Mode: s2attn.Roll, Group: group}, row(g.ids[:ctx]), g.want.Roll},
		{"sft", s2attn.Spec{Mode: s2attn.Split, Group: group}, g.sftBatch(), g.want.SFTLoss},
		{"docs", s2attn.Spec{Mode: s2attn.Split, Group: group}, g.cutRow(), g.want.DocsLoss},
	}
	return slices.DeleteFunc(all, func(c kase) bool { return c.loss == 0 })
}

// cutRow is a row of ctx tokens that is cut into documents.
func (g golden) cutRow() *model.Batch {
	var docs [][]int32
	at := 0
	for _, n := range g.want.Docs {
		docs = append(docs, g.ids[at:at+n])
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
		for _, tl := range []model.Tiling{{Keep: model.KeepAll}, {Keep: model.KeepAttn}, {Keep: model.KeepInput}, {Keep: model.KeepAttn, More: 1}, {Keep: model.KeepInput, More: 1}} {
			tl.Tile, tl.MLPRows, tl.HeadRows = tile, min(tile, 50), min(tile, 33)
			if len(out)%2 == 1 { // the last layer's gate and up are then still there
				tl.MLPRows = tile
			}
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
		ref, ok := g.ref["grad."+c.kind+"."+p.Name]
		if !ok {
			ref, ok = g.ref["grad."+c.kind+".base_model.model."+p.Name]
		}
		if !ok {
			t.Fatalf("no reference for %s", p.Name)
		}
		got, err := m.Params.Get(p.Grad)
		if err != nil {
			t.Fatal(err)
		}
		out[p.Name] = relative(got, ref.Floats())
	}
	return out
}

var models = []string{"mha-linear", "gqa-llama3", "odd-heads-yarn", "ragged"}

// Losses and gradients of every trained tensor against transformers and PEFT, for every way of carrying a step out.
func TestGolden(t *testing.T) {
	be := cpu.New(2)
	for _, name := range models {
		g := open(t, name)
		group := g.want.Group
		for _, c := range g.cases() {
			for _, tl := range tilings(c, g.want.Ctx, group, len(c.batch.IDs), group, group+7, group/2-3, 11) {
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

// yardstick are the errors of a step whose every operation is done plainly in bfloat16, all kept and in one tile. The
// loss, one number, may come out right by chance: its error counts as no less than the deviation of a mean over
// tokens whose errors are as large as the plain step's.
func (g golden) yardstick(t *testing.T, plain ops.Backend, c kase) map[string]float64 {
	t.Helper()
	n := len(c.batch.IDs)
	yard := g.errors(t, plain, c, model.Tiling{Tile: n, MLPRows: n, HeadRows: n})
	is, want, sum, scored := g.scores(t, plain, c), g.scores(t, cpu.New(2), c), 0.0, 0.0
	for i, y := range c.batch.Targets {
		if y >= 0 {
			e := float64(is[i]) - float64(want[i])
			sum, scored = sum+e*e, scored+1
		}
	}
	yard["loss"] = max(yard["loss"], math.Sqrt(sum)/scored)
	return yard
}

// gpu is the first GPU, where this build and this machine have one.
func gpu(t *testing.T) []ops.Backend {
	t.Helper()
	found, err := cuda.Devices()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		return nil
	}
	b, err := cuda.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return []ops.Backend{b}
}

// In bfloat16 a step may have twice the error of the yardstick.
func TestGoldenBF16(t *testing.T) {
	plain := optest.Plain(cpu.New(2))
	judged := append(gpu(t), plain)
	for _, name := range models {
		g := open(t, name)
		group := g.want.Group
		for _, c := range g.cases() {
			n := len(c.batch.IDs)
			yard := g.yardstick(t, plain, c)
			for _, be := range judged {
				if c.spec.Mode == s2attn.Roll && be.Name() != "plain" {
					continue
				}
				worst := 0.0
				for _, tl := range tilings(c, g.want.Ctx, group, n, group/2-3) {
					for what, e := range g.errors(t, be, c, tl) {
						limit := 2 * yard[what]
						worst = max(worst, e/limit)
						if !(e <= limit) {
							t.Errorf("%s: %s %s %+v: %s is off by %g, at most %g", be.Name(), name, c.kind, tl, what, e, limit)
						}
					}
				}
				least, most := math.Inf(1), 0.0
				for what, e := range yard {
					if what != "loss" {
						least, most = min(least, e), max(most, e)
					}
				}
				t.Logf("%s: %s %s: yardsticks: loss %.2g, gradients %.2g to %.2g; at worst %.2f of a limit", be.Name(), name, c.kind, yard["loss"], least, most, worst)
			}
		}
	}
}

func (g golden) sftBatch() *model.Batch {
	var rows [][]int32
	for i, s := range g.want.SFT.Starts {
		rows = append(rows, g.ids[s:s+g.want.SFT.Lengths[i]])
	}
	return sft(rows, g.want.SFT.Prompt)
}
