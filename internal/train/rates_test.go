package train_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// Embedding, norms and head have a rate of their own: at 0 they stay the base's to the bit while the factors move, and at
// the factors' rate a run has the bits of one that does not name it.
func TestOwnRateOfEmbedding(t *testing.T) {
	e := testkit.Golden(t, "mha-linear")
	tensors := func(more ...string) map[string][]float32 {
		out := t.TempDir()
		run(t, goldenArgs("mha-linear", e, out, more...)...)
		for i, m := range metrics(t, out) {
			want := m.LR
			if slices.Contains(more, "--lr-embed=0") {
				want = 0
			}
			if m.LREmbed != want {
				t.Errorf("%v step %d: lr_embed %v, want %v", more, i+1, m.LREmbed, want)
			}
		}
		return testkit.Floats(t, filepath.Join(out, "adapter_model.safetensors"))
	}
	before := testkit.Floats(t, filepath.Join(goldenDir, "mha-linear", "adapter-init", "adapter_model.safetensors"))
	alone, same, still := tensors(), tensors("--lr-embed="+text(e.LR)), tensors("--lr-embed=0")
	for name, v := range alone {
		if !slices.Equal(same[name], v) {
			t.Errorf("%s: other bits where the rates are the same", name)
		}
		factor := strings.Contains(name, "lora_")
		if moved := !slices.Equal(still[name], before[name]); moved != factor {
			t.Errorf("%s: moved %v under --lr-embed 0", name, moved)
		}
	}
}

func text(x float64) string {
	b, _ := json.Marshal(x)
	return string(b)
}

// rsLoRA's scale is alpha/√r: an alpha of 4 at rank 4 has the bits of an alpha of 8 without it, and the adapter says so.
func TestRSLoRA(t *testing.T) {
	dirs := map[string]string{}
	for name, more := range map[string][]string{"plain": {"--rank=4", "--alpha=8"}, "rs": {"--rank=4", "--alpha=4", "--rslora"}} {
		dirs[name] = filepath.Join(t.TempDir(), name)
		run(t, wholeRows(t, dirs[name], append(more, "--steps=2")...)...)
	}
	if adapterOf(t, dirs["plain"]) != adapterOf(t, dirs["rs"]) {
		t.Error("other bits at the same scale")
	}
	var c struct {
		RSLoRA bool `json:"use_rslora"`
	}
	testkit.ReadJSON(t, filepath.Join(dirs["rs"], "adapter_config.json"), &c)
	if !c.RSLoRA {
		t.Error("adapter_config.json does not say use_rslora")
	}
	err := runError(t, wholeRows(t, t.TempDir(), "--steps=1", "--adapter="+dirs["rs"], "--rslora=false")...)
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "--rslora false: the adapter in") {
		t.Errorf("going on without rsLoRA: %v", err)
	}
}

// The head is trained where it is asked for; of a tied model that is the embedding.
func TestTrainHead(t *testing.T) {
	for model, want := range map[string][]string{
		"mha-linear": {"base_model.model.lm_head.weight"},
		"gqa-llama3": {"base_model.model.lm_head.weight", "base_model.model.model.embed_tokens.weight"}, // tied
	} {
		out, dir := filepath.Join(t.TempDir(), "out"), filepath.Join(goldenDir, model)
		run(t, "--model="+filepath.Join(dir, "model"), "--data="+filepath.Join(dir, "tokens.bin"), "--out="+out, "--ctx=64", "--steps=1",
			"--accum=1", "--warmup-steps=0", "--lr=1e-3", "--train-embed=false", "--train-head", "--train-norm=false")
		var names []string
		for name := range testkit.Floats(t, filepath.Join(out, "adapter_model.safetensors")) {
			if !strings.Contains(name, "lora_") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			t.Errorf("%s: saved whole: %v, want %v", model, names, want)
		}
	}
}

// Where a loss is no number, options that alone may be why are named in the place of the weights.
func TestWildOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"--lr=1e40"}, "--lr, which is 1e+40"},
		{[]string{"--lr-embed=1e30"}, "--lr-embed, which is 1e+30"},
		{[]string{"--alpha=1e30"}, "--alpha, which is 1e+30"},
		{[]string{"--weight-decay=1e40"}, "--weight-decay, which is 1e+40"},
		{[]string{"--weight-decay=0.1", "--lr=1e-3", "--dropout=0.5", "--alpha=256"}, ""},
		{[]string{"--dropout=0.99999", "--lr=2"}, "--lr, which is 2, or --dropout, which is 0.99999"},
	} {
		o := options(t, slices.Concat([]string{"--model=m", "--data=d", "--ctx=64", "--out=o"}, c.args)...)
		if got := o.Suspects(4096); got != c.want {
			t.Errorf("%v: %q, want %q", c.args, got, c.want)
		}
	}
	e := testkit.Golden(t, "mha-linear")
	err := runError(t, goldenArgs("mha-linear", e, t.TempDir(), "--lr=1e30")...)
	if errs.Code(err) != 5 || !strings.Contains(err.Error(), "ower --lr, which is 1e+30") {
		t.Errorf("%v", err)
	}
}
