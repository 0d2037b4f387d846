package train_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/model"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// wholeRows is a run whose every step takes all of four rows of 128 tokens in the same order, without dropout: what a step
// computes depends on the parameters alone.
func wholeRows(t *testing.T, out string, more ...string) []string {
	t.Helper()
	return append([]string{"--model=" + filepath.Join(testkit.Root(t), "testdata", "golden", "biases", "model"), "--data=" + drawn(t, 4*128), "--out=" + out,
		"--ctx=128", "--base-ctx=64", "--group-size=32", "--lr=3e-3", "--warmup-steps=0", "--accum=4", "--shuffle=false", "--save-every=1", "--keep=9"}, more...)
}

// A run's first steps are those of one that attends as they do throughout; the first of its last ones, that attend fully,
// is the first step under full attention from the same parameters, and so is what validation finds in that step.
func TestLastStepsAttendFully(t *testing.T) {
	const steps, border = 6, 4
	validate := []string{"--eval-every=1", "--eval-data=" + drawn(t, 2*128)}
	sparse, both := filepath.Join(t.TempDir(), "sparse"), filepath.Join(t.TempDir(), "both")
	run(t, wholeRows(t, sparse, append(validate, fmt.Sprint("--steps=", border))...)...)
	res, log := run(t, wholeRows(t, both, append(validate, fmt.Sprint("--steps=", steps), "--full-last=0.3")...)...)
	if res.FullSteps != steps-border {
		t.Errorf("%d full steps", res.FullSteps)
	}
	for _, w := range []string{"G = 32 of 128 tokens; full from step 5 on, in the last 2 of 6 steps", "memory s2 ", "and full    the same: ", "s with full attention, "} {
		if !strings.Contains(log, w) {
			t.Errorf("the log does not say %q:\n%s", w, log)
		}
	}
	at := func(out string, step int) string {
		return filepath.Join(out, "checkpoints", fmt.Sprintf("step-%06d", step))
	}
	of := func(out string) []rundir.Metrics { return metrics(t, out) }
	for i, m := range of(sparse) {
		if got := of(both)[i]; bits(got) != bits(m) || got.Attn != "s2" {
			t.Errorf("step %d: %s, without full attention %s", i+1, bits(got), bits(m))
		}
	}
	for _, f := range []string{"adapter_model.safetensors", "optimizer.safetensors"} {
		if string(testkit.Read(t, filepath.Join(at(both, border), f))) != string(testkit.Read(t, filepath.Join(at(sparse, border), f))) {
			t.Errorf("%s of step %d is not that of a run without full attention", f, border)
		}
	}

	full := filepath.Join(t.TempDir(), "full")
	run(t, wholeRows(t, full, append(validate, "--adapter="+at(both, border), "--attn=full", "--steps=1", "--lr=0")...)...)
	got, want := of(both)[border], of(full)[0]
	if got.Loss != want.Loss || got.GradNorm != want.GradNorm || got.Attn != "full" || want.Attn != "full" {
		t.Errorf("step %d: %s, full attention from the same parameters gives %s", border+1, bits(got), bits(want))
	}
	again := filepath.Join(t.TempDir(), "again")
	run(t, wholeRows(t, again, append(validate, "--adapter="+at(both, steps), "--attn=full", "--steps=1", "--lr=0")...)...)
	if got, want := *of(both)[steps-1].EvalLoss, *of(again)[0].EvalLoss; got != want {
		t.Errorf("validated at %v, under full attention it is %v", got, want)
	}
}

// Validation under both ways of attending goes on across the border.
func TestLiveGap(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	res, _ := run(t, wholeRows(t, out, "--steps=2", "--full-last=0.5", "--eval-every=1", "--eval-fraction=0.25", "--eval-attn=s2,full")...)
	ms := metrics(t, out)
	if res.EvalLoss != nil || *res.EvalSparse != *ms[1].EvalSparse || *res.EvalFull != *ms[1].EvalFull || res.LossMean != ms[1].Loss {
		t.Errorf("the result is %+v", res)
	}
	for _, m := range ms {
		if m.EvalSparse == nil || m.EvalFull == nil || m.EvalLoss != nil || *m.EvalSparse == *m.EvalFull {
			t.Errorf("%s", bits(m))
		}
	}
}

// Each part is carried out as its own plan says, in the memory that the other one left behind: another plan gives the same
// to rounding, and is kept from one start of the run to the next.
func TestEachPartByItsPlan(t *testing.T) {
	const steps = 4
	args := func(out string, n int) []string {
		return wholeRows(t, out, fmt.Sprint("--steps=", steps), "--full-last=0.5", fmt.Sprint("--keep=", n))
	}
	whole := filepath.Join(t.TempDir(), "whole")
	run(t, args(whole, steps)...)
	for _, from := range []int{1, 2, 3} {
		from := filepath.Join(whole, "checkpoints", fmt.Sprintf("step-%06d", from))
		r, err := train.ReadRecord(from)
		if err != nil {
			t.Fatal(err)
		}
		r.Plan.Tiling = model.Tiling{Tile: 48, Keep: model.KeepInput, MLPRows: 20, HeadRows: 9}
		r.Plan.Last.Tiling = model.Tiling{Tile: 33, Keep: model.KeepOut, More: 1, MLPRows: 33, HeadRows: 100}
		if err := files.WriteSealed(filepath.Join(from, "run.json"), r); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "out")
		run(t, append(args(out, steps), "--resume="+from)...)
		for i, m := range metrics(t, out) {
			if w := metrics(t, whole)[i]; !near(m.Loss, w.Loss, 1e-5) || !near(m.GradNorm, w.GradNorm, 1e-4) || m.Attn != w.Attn {
				t.Errorf("%s, step %d: %s, by one tile %s", from, i+1, bits(m), bits(w))
			}
		}
		kept, err := train.ReadRecord(filepath.Join(out, "checkpoints", fmt.Sprintf("step-%06d", steps)))
		if err != nil || kept.Plan.Tiling != r.Plan.Tiling || kept.Plan.Last == nil || kept.Plan.Last.Tiling != r.Plan.Last.Tiling || kept.FullSteps != steps/2 {
			t.Errorf("kept: %+v (%v)", kept.Plan, err)
		}
	}
}

// A run of which a share attends fully is not made longer or shorter, and goes on with the same share alone; one that says
// how its first steps attend without a word of the last ones has none.
func TestShareOnResume(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	run(t, wholeRows(t, out, "--steps=2", "--full-last=.50")...)
	for _, c := range []struct{ more, want string }{
		{"--steps=4 --full-last=0.5", "--steps was 2, now it is 4"},
		{"--steps=2 --full-last=0.25", "--full-last was 0.5, now it is 0.25"},
		{"--steps=2 --attn=s2", "--full-last was 0.5, now it is not set"},
		{"--steps=2 --attn=full", "--attn was s2, now it is full"},
	} {
		err := runError(t, wholeRows(t, out, strings.Fields(c.more)...)...)
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, want 2 saying %q: %v", c.more, errs.Code(err), c.want, err)
		}
	}
	if res, _ := run(t, wholeRows(t, out, "--steps=2", "--full-last=5e-1", "--attn=s2")...); res.FullSteps != 1 {
		t.Errorf("finished with %+v", res)
	}
	if res, _ := run(t, wholeRows(t, out, "--steps=2")...); res.FullSteps != 1 {
		t.Errorf("without a word of the share that the run recorded: %+v", res)
	}
	none := filepath.Join(t.TempDir(), "none")
	run(t, wholeRows(t, none, "--steps=1", "--full-last=0")...)
	if res, _ := run(t, wholeRows(t, none, "--steps=2")...); res.Steps != 2 || res.FullSteps != 0 {
		t.Errorf("prolonged: %+v", res)
	}
}

// Every step attends fully where the share is 1, or rounds up to all of them.
func TestShareOfAll(t *testing.T) {
	want, _ := run(t, wholeRows(t, filepath.Join(t.TempDir(), "full"), "--steps=2", "--attn=full")...)
	for _, f := range []string{"1", "0.51"} {
		out := filepath.Join(t.TempDir(), "out")
		res, log := run(t, wholeRows(t, out, "--steps=2", "--full-last="+f)...)
		if res.Loss != want.Loss || res.FullSteps != 2 || !strings.Contains(log, "attention   full, no groups: of 2 steps, the share of --full-last is all") {
			t.Errorf("--full-last %s: %+v, want %+v\n%s", f, res, want, log)
		}
	}
}
