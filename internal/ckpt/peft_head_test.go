package ckpt

import (
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tensor"
)

// pythia is the layout of a GPT-NeoX, whose head transformers calls otherwise in memory than on disk.
func pythia(tied bool) Layout {
	return Layout{Tied: tied, Family: &model.GPTNeoX, Shapes: map[string]tensor.Shape{"gpt_neox.embed_in.weight": {6, 4},
		"embed_out.weight": {6, 4}, "gpt_neox.layers.0.attention.dense.weight": {4, 4}}}
}

// A head is written under both of its names, by which PEFT finds it whatever release of transformers it stands on, and read
// by either.
func TestHeadOfOtherName(t *testing.T) {
	dense := "gpt_neox.layers.0.attention.dense"
	lora := []Out{sample(dense+".lora_A.weight", tensor.F32, 2, 4), sample(dense+".lora_B.weight", tensor.F32, 4, 2)}
	for _, tied := range []bool{false, true} {
		m := pythia(tied)
		name := map[bool]string{false: "embed_out.weight", true: "gpt_neox.embed_in.weight"}[tied]
		dir := t.TempDir()
		err := WriteAdapter(dir, NewAdapter{Base: "b", Config: NewAdapterConfig(2, 4, false, []string{"dense"}), Tied: tied,
			Family: m.Family, Model: []string{name, dense + ".weight"}, Tensors: append(slices.Clone(lora), sample(name, tensor.F32, 6, 4))})
		if err != nil {
			t.Fatal(err)
		}
		a, err := OpenAdapter(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for _, key := range []string{"embed_out.weight", "lm_head.weight"} {
			if _, ok := a.Saved[key]; !ok {
				t.Errorf("tied %v: the file has no %s", tied, key)
			}
		}
		if !a.Config.Saves("lm_head") || a.Config.KeepTie != tied {
			t.Errorf("tied %v: saved are %v, ensure_weight_tying %v", tied, a.Config.saved.names, a.Config.KeepTie)
		}
		if _, err := a.Fit(m); err != nil || a.Untied {
			t.Errorf("tied %v: %v, untied %v", tied, err, a.Untied)
		}
		if _, ok := a.Saved[name]; !ok || len(a.Saved) != 1 {
			t.Errorf("tied %v: %d tensors besides the factors, want %s", tied, len(a.Saved), name)
		}
	}
	own := func(name string) []Out {
		return []Out{sample(peftPrefix+dense+".lora_A.weight", tensor.F32, 2, 4), sample(peftPrefix+dense+".lora_B.weight", tensor.F32, 4, 2),
			sample(peftPrefix+name, tensor.F32, 6, 4)}
	}
	for what, c := range map[string]struct {
		change change
		ts     []Out
		says   string
	}{
		"transformers 5": {change{"modules_to_save": []string{"lm_head"}}, own("lm_head.weight"), ""},
		"transformers 4": {change{"modules_to_save": []string{"embed_out"}}, own("embed_out.weight"), ""},
		"missing":        {change{"modules_to_save": []string{"lm_head"}}, own("gpt_neox.embed_in.weight"), "embed_out.weight is missing"},
		"two of one":     {change{}, append(own("lm_head.weight"), sample(peftPrefix+"embed_out.weight", tensor.F32, 6, 4)), "are one module's"},
	} {
		c.change["target_modules"] = []string{"dense"}
		a, err := OpenAdapter(adapterDir(t, c.change, c.ts)) // values are by the names' lengths
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		_, err = a.Fit(pythia(false))
		if c.says == "" && err != nil || c.says != "" && (errs.Code(err) != 4 || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
}
