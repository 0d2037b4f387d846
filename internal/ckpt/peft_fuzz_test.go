package ckpt

import (
	"os"
	"path/filepath"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/rundir"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// Whatever stands in adapter_config.json, an adapter is read or refused as data; what is read can be written again, and is
// then read as the same.
func FuzzAdapterConfig(f *testing.F) {
	for _, name := range []string{"plain", "layers", "expression", "ranks-alphas-rslora", "excluded-expression", "tied", "dora", "peft-0.3"} {
		b, err := os.ReadFile(filepath.Join("../../testdata/peft/cases", name, rundir.AdapterConfigFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"peft_type":"LORA","r":2,"target_modules":"(((a+)+)+)+$","rank_pattern":{"(":2},"alpha_pattern":{"\\1":1e400}}`))
	f.Add([]byte(`{"peft_type":"LORA","r":1e9,"layers_to_transform":[1,-1],"layers_pattern":["(?P<x>.)","["],"modules_to_save":["",".*"]}`))
	modules := []string{"model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.11.mlp.down_proj", "lm_head"}
	f.Fuzz(func(t *testing.T, config []byte) {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, rundir.AdapterConfigFile), config)
		c, err := readAdapterConfig(dir)
		if err != nil {
			if errs.Code(err) != 4 {
				t.Fatalf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		says := func(c *AdapterConfig) (s []any) {
			for _, m := range modules {
				s = append(s, c.targeted(m), c.rank(m), c.scale(m))
			}
			return s
		}
		was := says(c)
		if err := c.match.f.err; err != nil {
			if errs.Code(err) != 4 {
				t.Fatalf("exit code %d: %v", errs.Code(err), err)
			}
			return
		}
		var whole []string
		for _, m := range modules {
			if c.Saves(m) {
				whole = append(whole, m+".weight")
			}
		}
		var ts []Out
		for _, n := range whole {
			ts = append(ts, sample(n, tensor.F32, 2, 2))
		}
		again := t.TempDir()
		names := []string{modules[0] + ".weight", modules[1] + ".weight", modules[2] + ".weight", modules[3] + ".weight"}
		if err := WriteAdapter(again, NewAdapter{Base: "base", Config: c, Model: names, Tensors: ts}); err != nil {
			t.Fatal(err)
		}
		d, err := readAdapterConfig(again)
		if err != nil {
			t.Fatalf("written again it is refused: %v", err)
		}
		if !c.targets.given {
			return // it is written with the modules that have factors
		}
		for i, x := range says(d) {
			if x != was[i] {
				t.Fatalf("written again it says %v, was %v", says(d), was)
			}
		}
	})
}
