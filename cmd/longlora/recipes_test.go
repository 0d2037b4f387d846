package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/config"
)

// Every recipe in configs/ loads, as train reads it and as a file shared with every other command, and says what
// hardware, memory and data it is for.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]*config.Train{}
	for _, p := range files {
		var c config.Train
		fs := pflag.NewFlagSet("train", pflag.ContinueOnError)
		c.Flags(fs)
		if err := fs.Set("config", p); err != nil {
			t.Fatal(err)
		}
		v, err := config.Load(fs, known(newRoot()))
		if err == nil {
			err = c.Finish(v, "model", "data", "ctx", "out")
		}
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []string{"# Hardware:", "# Memory:", "# Data:", "longlora train --config configs/" + filepath.Base(p)} {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s does not say %q", p, w)
			}
		}
		names[strings.TrimSuffix(filepath.Base(p), ".yaml")] = &c
	}
	for name, ctx := range map[string]int{"smoke": 128, "llama2-7b-8k": 8192, "llama2-7b-16k": 16384, "llama2-7b-32k": 32768, "llama2-7b-100k": 100000,
		"llama2-13b-64k": 65536, "llama2-70b-32k": 32768, "sft-longalpaca": 32768} {
		c := names[name]
		if c == nil || c.Ctx != ctx {
			t.Errorf("recipe %s is missing or not of %d tokens", name, ctx)
			continue
		}
		if paper := strings.HasPrefix(name, "llama2"); paper && (c.Steps != 1000 || c.Accum != 64 || c.G != ctx/4 || c.LR != map[bool]float64{true: 1e-5, false: 2e-5}[strings.Contains(name, "70b")]) {
			t.Errorf("%s: %d steps, accumulation %d, G %d, rate %g", name, c.Steps, c.Accum, c.G, c.LR)
		}
	}
	if c := names["sft-longalpaca"]; c != nil && (c.Epochs != 5 || c.G != 8192 || c.Template != "longalpaca" || !slices.Equal(c.Data, []string{"data/LongAlpaca-12k.json"})) {
		t.Errorf("sft-longalpaca: %+v", c)
	}
}
