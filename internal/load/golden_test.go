package load_test

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
)

type expected struct {
	Ctx, Group int
	Full       float64 `json:"loss.full"`
	Split      float64 `json:"loss.split"`
	Roll       float64 `json:"loss.roll"`
	SFTLoss    float64 `json:"loss.sft"`
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

func (g golden) runner(t *testing.T, spec s2attn.Spec, tl model.Tiling) (*model.Runner, *model.Model) {
	t.Helper()
	base, err := load.Open(filepath.Join(g.dir, "model"), filepath.Join(g.dir, "adapter-init"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.Close)
	be := cpu.New(2)
	arena := func(name string) *ops.Arena {
		a, err := ops.NewArena(be, name, ops.Device, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Free(be) })
		return a
	}
	tr, err := base.Resume(0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := base.New(be, tr, arena("params"), 0)
	if err != nil {
		t.Fatal(err)
	}
	return model.NewRunner(m, be, spec, base.Rope(base.Positions, g.want.Ctx), tl, arena("act"), arena("halo")), m
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

// Losses and gradients of every trained tensor against transformers and PEFT, for every way of tiling.
func TestGolden(t *testing.T) {
	for _, name := range []string{"mha-linear", "gqa-llama3", "odd-heads-yarn"} {
		g := open(t, name)
		ctx, group := g.want.Ctx, g.want.Group
		for _, c := range []struct {
			kind  string
			spec  s2attn.Spec
			batch *model.Batch
			loss  float64
		}{
			{"full", s2attn.Spec{Mode: s2attn.Full}, row(g.ids[:ctx]), g.want.Full},
			{"split", s2attn.Spec{Mode: s2attn.Split, Group: group}, row(g.ids[:ctx]), g.want.Split},
			{"roll", s2attn.Spec{Mode: s2attn.Roll, Group: group}, row(g.ids[:ctx]), g.want.Roll},
			{"sft", s2attn.Spec{Mode: s2attn.Split, Group: group}, g.sftBatch(), g.want.SFTLoss},
		} {
			for _, tile := range []int{len(c.batch.IDs), group, group + 7, group/2 - 3, 11} {
				if c.spec.Mode == s2attn.Roll && tile < ctx {
					continue
				}
				for _, keep := range []model.Keep{model.KeepAll, model.KeepAttn, model.KeepInput} {
					tl := model.Tiling{Tile: tile, Keep: keep, MLPRows: min(tile, 50), HeadRows: min(tile, 33)}
					r, m := g.runner(t, c.spec, tl)
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
					if e := math.Abs(sum/float64(scored) - c.loss); e > 1e-5 {
						t.Errorf("%s %s %+v: loss %v, want %v", name, c.kind, tl, sum/float64(scored), c.loss)
					}
					for _, p := range m.Params.List {
						ref, ok := g.ref["grad."+c.kind+"."+p.Name]
						if !ok {
							ref, ok = g.ref["grad."+c.kind+".base_model.model."+p.Name]
						}
						if !ok {
							t.Fatalf("%s: no reference for %s", name, p.Name)
						}
						got, err := m.Params.Get(p.Grad)
						if err != nil {
							t.Fatal(err)
						}
						if e := relative(got, ref.Floats()); !(e <= 1e-4) {
							t.Errorf("%s %s %+v: gradient of %s is off by %g", name, c.kind, tl, p.Name, e)
						}
					}
				}
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
