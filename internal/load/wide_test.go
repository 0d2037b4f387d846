package load_test

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"longlora/internal/ckpt"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/ops/cpu"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// hashed are n numbers in [-0.5, 0.5), as scripts/golden/wide.py computes them.
func hashed(n, salt int) []float32 {
	v := make([]float32, n)
	for i := range v {
		h := uint32((uint64(i) + uint64(salt)*7919) * 2654435761)
		v[i] = float32(float64(h>>16)/65536 - 0.5)
	}
	return v
}

// A vocabulary of more than 65,536: the loss is transformers' on weights that are a formula, through a checkpoint on disk.
func TestWideVocabulary(t *testing.T) {
	var want struct {
		Ctx     int
		Tensors []string
		Config  map[string]any
		Full    float64 `json:"loss.full"`
	}
	testkit.ReadJSON(t, "../../testdata/golden/wide-vocab/expected.json", &want)
	dir := t.TempDir()
	want.Config["architectures"] = []string{"LlamaForCausalLM"}
	if err := files.WriteJSON(filepath.Join(dir, "config.json"), want.Config); err != nil {
		t.Fatal(err)
	}
	base, err := load.OpenConfig(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	var outs []ckpt.Out
	for _, s := range base.Desc().Tensors() {
		v := hashed(s.Shape.Elems(), slices.Index(want.Tensors, s.Name))
		if len(s.Shape) == 1 {
			for i := range v {
				v[i]++
			}
		}
		outs = append(outs, ckpt.Bytes(s.Name, tensor.F32, s.Shape, ckpt.AppendFloats(nil, v, tensor.F32)))
	}
	if err := ckpt.WriteSafetensors(filepath.Join(dir, "model.safetensors"), outs); err != nil {
		t.Fatal(err)
	}
	g := golden{&testkit.Case{Dir: dir, Ctx: want.Ctx}}
	for _, x := range hashed(want.Ctx, 1000) {
		g.IDs = append(g.IDs, int32((float64(x)+0.5)*float64(base.Desc().V)))
	}
	if base, err = load.Open(dir, ""); err != nil {
		t.Fatal(err)
	}
	r, _, done := g.run(t, cpu.New(2), base, model.Train{Frozen: true}, s2attn.Spec{Mode: s2attn.Full}, model.Tiling{Tile: 20, MLPRows: 20, HeadRows: 7})
	defer done()
	nll, err := r.Score(row(g.IDs))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, v := range nll {
		sum += float64(v)
	}
	if got := sum / float64(want.Ctx-1); !(math.Abs(got-want.Full) < 1e-5) {
		t.Errorf("the loss is %v, want %v", got, want.Full)
	}
}
