package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/plan"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// borderedRun is the folder of a run of steps steps, the last of them fully attended, of which done are done; every second
// one is validated.
func borderedRun(t *testing.T, steps, last, done int, evalAttn string) string {
	t.Helper()
	dir := t.TempDir()
	r := train.Record{Run: rundir.Run{Kind: rundir.Kind, Steps: steps, FullSteps: last, Options: map[string]string{"attn": "s2", "group-size": "32", "shift": "split", "full-last": "0.4"}},
		Plan: plan.Plan{Tiling: model.Tiling{Tile: 48}, Host: 3 << 20, Act: 1 << 20, Last: &plan.Plan{Tiling: model.Tiling{Tile: 96}, Host: 5 << 20, Act: 3 << 20}}}
	if last == 0 {
		r.Plan.Last = nil
	}
	if evalAttn != "" {
		r.Options["eval-attn"] = evalAttn
	}
	if err := files.WriteSealed(filepath.Join(dir, rundir.RecordFile), r); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for s := 1; s <= done; s++ {
		m := rundir.Metrics{Step: s, Attn: "s2", Loss: 3 - float64(s)/10, GradNorm: 1, LR: 1e-5, Tokens: 100, TokPerS: 50, StepS: 2, HostPeak: 1 << 20}
		if s > steps-last {
			m.Attn = "full"
		}
		if v := m.Loss + 0.05; s%2 == 0 {
			m.EvalLoss = &v
		}
		line, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", line)
	}
	testkit.Write(t, filepath.Join(dir, rundir.MetricsFile), b.String())
	return dir
}

// The page says where full attention begins, draws it, and keeps validations under different attention apart.
func TestBorder(t *testing.T) {
	page := func(dir string) string {
		p, err := Dir(dir, &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		return written(t, p)
	}
	lacks := func(text string, parts ...string) {
		t.Helper()
		for _, p := range parts {
			if strings.Contains(text, p) {
				t.Errorf("the page says %q", p)
			}
		}
	}
	const drawn = "full attention from step 7 on"
	text := page(borderedRun(t, 10, 4, 10, ""))
	wants(t, text, "s2, groups of 32 tokens, shift split, in steps 1 to 6; full in steps 7 to 10", drawn,
		"From step 7 on attention is full, before it is S²; the loss of step 7 is 2.3000, that of the step before 2.4000.",
		"Validation loss under S² attention fell from 2.8500 (step 2) to 2.4500 (step 6).",
		"Validation loss under full attention fell from 2.2500 (step 8) to 2.0500 (step 10).", "96 tokens", "5.00 MiB planned")
	lacks(text, "On the same rows")
	// Asked for under one attention, validation is under that in every step.
	wants(t, page(borderedRun(t, 10, 4, 10, "full")), "Validation loss fell from 2.8500 (step 2) to 2.0500 (step 10).")
	// Before the border it is said, not drawn.
	text = page(borderedRun(t, 10, 4, 4, ""))
	wants(t, text, "full in steps 7 to 10")
	lacks(text, drawn, "From step 7 on")
	// Without one there is none.
	text = page(borderedRun(t, 10, 0, 10, ""))
	wants(t, text, "s2, groups of 32 tokens, shift split")
	lacks(text, "full attention", "in steps 1 to")
	// Of one step the figures are all there is: no curve has a single point.
	text = page(borderedRun(t, 10, 0, 1, ""))
	wants(t, text, "Training loss, last step", "1 of 10", "At most 1.00 MiB of host memory was used, 3.00 MiB planned.")
	lacks(text, "<svg", "first step")
}
