package train_test

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/testkit"
)

// families are the reference cases with what transformers computes with PEFT's merge of the trained adapter.
var families = []string{"qwen2", "qwen3", "phi3", "granite", "smollm3", "olmo2", "gpt-neox", "gemma2"}

// A family goes from training to a merged checkpoint, whose losses over windows and greedy tokens are transformers'.
func TestFamiliesFromTrainingToTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("with the C kernels; without them these take minutes")
	}
	for _, name := range families {
		t.Run(name, func(t *testing.T) {
			name := "families/" + name
			g := testkit.Golden(t, name)
			var want struct {
				Loss           float64
				Prompt, Greedy []int
			}
			testkit.ReadJSON(t, filepath.Join(g.Dir, "merged.json"), &want)
			out := t.TempDir()
			run(t, goldenArgs(name, g, out, fmt.Sprint("--tile=", g.Group+5))...)
			base, err := load.Open(filepath.Join(g.Dir, "model"), out)
			if err != nil {
				t.Fatal(err)
			}
			merged := filepath.Join(t.TempDir(), "merged")
			res, err := lora.Merge(t.Context(), lora.MergeOptions{Base: base.Weights, Desc: base.Desc(), Adapter: base.Adapter, Scale: 1,
				Positions: base.Positions, Out: merged, ShardSize: 1 << 30})
			base.Close()
			if err != nil || len(res.Same) > 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			r := readerOf(t, merged, g.Ctx)
			if got := r.loss(t, g); !(math.Abs(got-want.Loss) <= 1e-5) {
				t.Errorf("the merged model's loss is %v, want %v", got, want.Loss)
			}
			if got := r.greedy(t, g.IDs[want.Prompt[0]:want.Prompt[1]], len(want.Greedy)); !slices.Equal(got, want.Greedy) {
				t.Errorf("greedy tokens\n%v, want\n%v", got, want.Greedy)
			}
		})
	}
}

// reader computes with a checkpoint under full attention.
type reader struct{ *model.Runner }

func readerOf(t *testing.T, dir string, ctx int) reader {
	t.Helper()
	base, err := load.Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(base.Close)
	be := cpu.New(2)
	arena := func(s ops.Space) *ops.Arena {
		a, err := ops.NewArena(be, "test", s, 16<<20)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Free(be) })
		return a
	}
	m, err := base.New(be, base.Frozen(), model.Memory{Params: arena(ops.Device)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	tl := model.Tiling{Tile: ctx, MLPRows: ctx, HeadRows: ctx}
	return reader{model.NewRunner(m, be, s2attn.Spec{Mode: s2attn.Full}, base.Rope(base.Positions, ctx), tl, arena(ops.Device), arena(ops.Host))}
}

// loss is the mean over the reference case's windows.
func (r reader) loss(t *testing.T, g *testkit.Case) float64 {
	t.Helper()
	sum := 0.0
	for i := range g.PPL.Windows {
		ids := g.IDs[i*g.PPL.Stride : i*g.PPL.Stride+g.Ctx]
		b := &model.Batch{IDs: ids, Targets: append(slices.Clone(ids[1:]), -1), Docs: []int32{0, int32(g.Ctx)}}
		nll, err := r.Score(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range nll {
			sum += float64(v)
		}
	}
	return sum / float64(g.PPL.Windows*(g.Ctx-1))
}

// greedy goes on from a prompt by the most probable token, appending first many tokens and then one at a time.
func (r reader) greedy(t *testing.T, prompt []int32, n int) (out []int) {
	t.Helper()
	s := r.NewSession(len(prompt) + n)
	defer s.Close()
	next := prompt
	for range n {
		if err := s.Append(next...); err != nil {
			t.Fatal(err)
		}
		id, err := s.Best()
		if err != nil {
			t.Fatal(err)
		}
		out, next = append(out, int(id)), []int32{id}
	}
	return out
}
