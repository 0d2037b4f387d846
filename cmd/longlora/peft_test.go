package main

import (
	"bytes"
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/testkit"
)

// peftCases are adapters that PEFT wrote: scripts/gen-peft-cases.py made them.
const peftCases = "../../testdata/peft"

// succeeds runs a command line on one thread of the CPU and gives its stdout.
func succeeds(t *testing.T, args ...string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append(args, "--device", "cpu", "--threads", "1", "--json"), &stdout, &stderr); code != 0 {
		t.Errorf("%s: exit code %d: %s", strings.Join(args, " "), code, &stderr)
	}
	return stdout.Bytes()
}

// peftLoss is the loss of a model, with an adapter where one is given, over the windows that the references are of.
func peftLoss(t *testing.T, model string, adapter ...string) float64 {
	t.Helper()
	args := []string{"eval", "--model", model, "--task", "ppl", "--data", peftCases + "/tokens.bin", "--ctx", "24", "--stride", "24"}
	if len(adapter) > 0 {
		args = append(args, "--adapter", adapter[0])
	}
	var doc struct{ Results []struct{ Loss float64 } }
	if err := json.Unmarshal(succeeds(t, args...), &doc); err != nil || len(doc.Results) != 1 {
		t.Errorf("%d results, %v", len(doc.Results), err)
		return math.NaN()
	}
	return doc.Results[0].Loss
}

// Every form of adapter gives PEFT's loss under eval and merged. Training goes on from it as it does from PEFT's, or says
// which field it does not go on from.
func TestAdaptersAsPEFTComputes(t *testing.T) {
	var cases map[string]struct {
		Model, Resume string
		Loss, After   float64
		Steps         []float64
	}
	if testkit.ReadJSON(t, peftCases+"/expected.json", &cases); len(cases) < 50 {
		t.Fatalf("%d cases", len(cases))
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			model, adapter, dir := filepath.Join(peftCases, c.Model), filepath.Join(peftCases, "cases", name), t.TempDir()
			near := func(what string, got, want float64) {
				if !(math.Abs(got-want) < 1e-5) {
					t.Errorf("%s: loss %v, PEFT's is %v", what, got, want)
				}
			}
			near("eval", peftLoss(t, model, adapter), c.Loss)
			merged := filepath.Join(dir, "merged")
			succeeds(t, "merge", "--model", model, "--adapter", adapter, "--out", merged)
			near("merged", peftLoss(t, merged), c.Loss)
			onward := []string{"train", "--model", model, "--adapter", adapter, "--data", peftCases + "/tokens.bin", "--ctx", "24", "--attn", "full",
				"--steps", "3", "--accum", "1", "--max-grad-norm", "0", "--shuffle=false", "--warmup-steps", "0", "--schedule", "constant"}
			run := filepath.Join(dir, "run")
			switch {
			case c.Resume != "":
				fails(t, 4, onward, "adapter_config.json", c.Resume, "longlora merge")
				return
			case len(c.Steps) > 0:
				succeeds(t, append(onward, "--out", run, "--lr", "0.01", "--lr-embed", "0.01", "--tile", "16")...)
				for i, m := range metricsOf(t, run) {
					near("a step", m, c.Steps[i])
				}
				near("gone on from", peftLoss(t, model, run), c.After)
			case name == "grown": // what PEFT saved beside the factors, untrained
				succeeds(t, append(onward, "--out", run, "--lr", "0")...)
				near("gone on from", peftLoss(t, model, run), c.Loss)
			default:
				return
			}
			sameRule(t, filepath.Join(adapter, "adapter_config.json"), filepath.Join(run, "adapter_config.json"))
		})
	}
}

// metricsOf are the losses of a run's steps.
func metricsOf(t *testing.T, run string) (losses []float64) {
	t.Helper()
	b := testkit.Read(t, filepath.Join(run, "metrics.jsonl"))
	for line := range strings.Lines(string(b)) {
		var m struct{ Loss float64 }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		losses = append(losses, m.Loss)
	}
	if len(losses) != 3 {
		t.Errorf("%d steps", len(losses))
	}
	return losses
}

// sameRule checks that an adapter's configuration, written again, names the same modules, ranks and scales, and nothing
// that older releases of PEFT would not know without need.
func sameRule(t *testing.T, was, is string) {
	t.Helper()
	var a, b map[string]any
	testkit.ReadJSON(t, was, &a)
	testkit.ReadJSON(t, is, &b)
	text := func(v any) string {
		if list, ok := v.([]any); ok && len(list) == 0 {
			v = nil
		}
		if o, ok := v.(map[string]any); ok && len(o) == 0 {
			v = nil
		}
		if v == false {
			v = nil
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	old := []string{"base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha", "lora_dropout",
		"modules_to_save", "peft_type", "r", "target_modules", "task_type"}
	for _, k := range []string{"r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "use_rslora", "ensure_weight_tying"} {
		if text(a[k]) != text(b[k]) {
			t.Errorf("%s: %s, where the adapter that it goes on from has %s", k, text(b[k]), text(a[k]))
		}
		if _, there := b[k]; there && !slices.Contains(old, k) && text(b[k]) == "null" {
			t.Errorf("%s: a default, which PEFT before 0.14 may not know", k)
		}
	}
}
