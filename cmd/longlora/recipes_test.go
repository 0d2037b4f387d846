package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/cli"
	"longlora/internal/machine"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

var memory = regexp.MustCompile(`# Memory: +([0-9.]+) GiB on the card(?: and ([0-9.]+) GiB of host memory)?, by longlora plan --chip (h[12]00) --host-mem (\d+GiB)\.`)

// checkMemory holds the figures that a recipe's head gives to what plan says of it now.
func checkMemory(t *testing.T, path, text string) {
	said := memory.FindStringSubmatch(text)
	if said == nil {
		if !strings.Contains(text, "device: cpu") {
			t.Errorf("%s does not say what it takes of a card, by which plan", path)
		}
		return
	}
	shape := "llama2-7b"
	for model, s := range map[string]string{"model: Qwen/Qwen2.5-7B": "qwen2.5-7b", "model: Qwen/Qwen3-8B": "qwen3-8b",
		"model: mistralai/Mistral-7B": "mistral-7b", "model: microsoft/Phi-3-mini": "phi-3-mini"} {
		if strings.Contains(text, model) {
			shape = s
		}
	}
	if m := regexp.MustCompile(`Llama-2-(\d+b)-hf`).FindStringSubmatch(text); m != nil {
		shape = "llama2-" + m[1]
	}
	if testing.Short() && strings.HasSuffix(path, "128k.yaml") {
		return // seconds each
	}
	gib, _ := strconv.Atoi(strings.TrimSuffix(said[4], "GiB"))
	debug.FreeOSMemory()
	own, err := machine.RssAnon() // what other tests have left in this process
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"plan", "--config", path, "--shape", shape, "--chip", said[3], "--host-mem", fmt.Sprint(int64(gib)<<30 + own), "--json"}, &stdout, &stderr); code != 0 {
		t.Errorf("%s: plan ends with %d: %s", path, code, &stderr)
		return
	}
	var got struct {
		Device float64 `json:"device_plan_bytes"`
		Host   float64 `json:"host_plan_bytes"`
		Base   float64 `json:"base_bytes"`
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i, bytes := range []float64{got.Device, got.Host - got.Base} {
		figure, err := strconv.ParseFloat(said[1+i], 64)
		if said[1+i] == "" {
			figure, err = 0, nil // less than it is worth to say
		}
		if gib := bytes / (1 << 30); err != nil || math.Abs(gib-figure) > 0.3 {
			t.Errorf("%s: %s GiB is said of %s, and plan says %.1f", path, said[1+i], []string{"the card", "host memory"}[i], gib)
		}
	}
}

// Every recipe in configs/ loads, as train reads it and as a file shared with every other command, and says what
// hardware, memory and data it is for.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]*train.Options{}
	for _, p := range files {
		fs := pflag.NewFlagSet("train", pflag.ContinueOnError)
		cli.Define("train", fs)
		if err := fs.Set("config", p); err != nil {
			t.Fatal(err)
		}
		var c train.Options
		v, err := cli.Load(fs)
		if err == nil {
			c, err = v.Train()
		}
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		b := testkit.Read(t, p)
		for _, w := range []string{"# Hardware:", "# Memory:", "# Data:", "longlora train --config configs/" + filepath.Base(p)} {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s does not say %q", p, w)
			}
		}
		checkMemory(t, p, string(b))
		names[strings.TrimSuffix(filepath.Base(p), ".yaml")] = &c
	}
	for name, ctx := range map[string]int{"smoke": 128, "llama2-7b-8k": 8192, "llama2-7b-16k": 16384, "llama2-7b-32k": 32768, "llama2-7b-100k": 100000,
		"llama2-13b-64k": 65536, "llama2-70b-32k": 32768, "sft-longalpaca": 32768, "qwen2.5-7b-128k": 131072, "qwen3-8b-128k": 131072,
		"mistral-7b-32k": 32768, "phi-3-mini-32k": 32768} {
		c := names[name]
		if c == nil || c.Ctx != ctx {
			t.Errorf("recipe %s is missing or not of %d tokens", name, ctx)
			continue
		}
		if paper := strings.HasPrefix(name, "llama2"); paper && (c.Steps != 1000 || c.Accum != 64 || group(c) != ctx/4 || *c.LR != map[bool]float64{true: 1e-5, false: 2e-5}[strings.Contains(name, "70b")]) {
			t.Errorf("%s: %d steps, accumulation %d, G %d, rate %g", name, c.Steps, c.Accum, group(c), *c.LR)
		}
	}
	if c := names["sft-longalpaca"]; c != nil && (c.Epochs != 5 || group(c) != 8192 || c.Documents.Template != "longalpaca" || !slices.Equal(c.Data, []string{"data/LongAlpaca-12k.json"})) {
		t.Errorf("sft-longalpaca: %+v", c)
	}
}

func group(c *train.Options) int {
	g, err := c.GroupFor(c.Ctx)
	if err != nil {
		return -1
	}
	return g
}
