package load_test

import (
	"math"
	"path/filepath"
	"testing"

	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
)

// families are reference cases of one kind of model each: of the base's loss, of the adapter's, and of gradients.
var families = []string{"families/llama-bias", "families/mistral-window", "families/nf4-double", "families/nf4-plain", "families/qwen2", "families/qwen3", "families/granite", "families/smollm3", "families/phi3", "families/phi3-long", "families/phi3-short", "families/olmo2", "families/gpt-neox", "families/gemma2"}

// The base's loss over windows, the first adapter's, and every gradient under S²-Attn, for every way of carrying a step out.
func TestFamilies(t *testing.T) {
	be := cpu.New(2)
	for _, name := range families {
		g := open(t, name)
		g.baseLoss(t)
		ctx, group := g.Ctx, g.Group
		full := kase{"full", s2attn.Spec{Mode: s2attn.Full}, row(g.IDs[:ctx]), g.Full}
		if e := g.loss(t, full); !(e < 1e-5) {
			t.Errorf("%s: the loss under full attention is off by %g", name, e)
		}
		split := g.split()
		for _, tl := range tilings(split, ctx, group, ctx, group, group+7, 11) {
			for what, e := range g.errors(t, be, split, tl) {
				limit := 1e-4
				if what == "loss" {
					limit = 1e-5
				}
				if !(e <= limit) {
					t.Errorf("%s %+v: %s is off by %g", name, tl, what, e)
				}
			}
		}
	}
}

// The same in bfloat16.
func TestFamiliesBF16(t *testing.T) {
	if testing.Short() {
		t.Skip("with the C kernels; without them these take minutes")
	}
	for i, name := range families {
		t.Run(name, func(t *testing.T) {
			g := open(t, name)
			g.judgeBF16(t, g.split(), i, g.Ctx, g.Group/2-3)
		})
	}
}

// With every weight trained, each bias has the gradient that PyTorch gives it.
func TestBiasGradients(t *testing.T) {
	g := open(t, "biases")
	c := kase{"full", s2attn.Spec{Mode: s2attn.Full}, row(g.IDs[:g.Ctx]), g.Full}
	for _, tl := range tilings(c, g.Ctx, 0, g.Ctx, 16, 11) {
		for what, e := range g.errors(t, cpu.New(2), c, tl) {
			if !(e <= 1e-5) {
				t.Errorf("%+v: %s is off by %g", tl, what, e)
			}
		}
	}
}

func (g golden) split() kase {
	return kase{"split", s2attn.Spec{Mode: s2attn.Split, Group: g.Group}, row(g.IDs[:g.Ctx]), g.Split}
}

// loss is the error of a case's loss.
func (g golden) loss(t *testing.T, c kase) float64 {
	t.Helper()
	sum := 0.0
	for _, v := range g.scores(t, cpu.New(2), c) {
		sum += float64(v)
	}
	return math.Abs(sum/float64(len(c.batch.IDs)-1) - c.loss)
}

// baseLoss holds the base's loss over windows, the mean of their means, without the adapter.
func (g golden) baseLoss(t *testing.T) {
	t.Helper()
	base, err := load.Open(filepath.Join(g.Dir, "model"), "")
	if err != nil {
		t.Fatal(err)
	}
	n := g.Ctx
	r, _, done := g.run(t, cpu.New(2), base, model.Train{Frozen: true}, s2attn.Spec{Mode: s2attn.Full}, model.Tiling{Tile: n, MLPRows: n, HeadRows: n})
	defer done()
	sum := 0.0
	for i := range g.PPL.Windows {
		at := i * g.PPL.Stride
		nll, err := r.Score(row(g.IDs[at : at+n]))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range nll {
			sum += float64(v)
		}
	}
	if got := sum / float64(g.PPL.Windows*(n-1)); !(math.Abs(got-g.PPL.Loss) < 1e-5) {
		t.Errorf("%s: the base's loss over %d windows is %v, want %v", g.Dir, g.PPL.Windows, got, g.PPL.Loss)
	}
}
