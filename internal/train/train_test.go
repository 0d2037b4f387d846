package train_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/ops/cpu"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
	"longlora/internal/testkit/flags"
	"longlora/internal/train"
)

const goldenDir = "../../testdata/golden"

// options reads a command line of train with the defaults of the paper, where it names no others.
func options(t *testing.T, args ...string) *train.Options {
	t.Helper()
	c, err := flags.Parse(t, "train", append([]string{"--recipe=paper"}, args...)).Train()
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// goldenArgs is the command line that made a reference case's adapter.
func goldenArgs(name string, e *testkit.Case, out string, more ...string) []string {
	dir := filepath.Join(goldenDir, name)
	return append([]string{"--model=" + filepath.Join(dir, "model"), "--data=" + filepath.Join(dir, "tokens.bin"), "--adapter=" + filepath.Join(dir, "adapter-init"),
		"--out=" + out, fmt.Sprint("--ctx=", e.Ctx), fmt.Sprint("--group-size=", e.Group), fmt.Sprint("--lr=", e.LR), "--warmup-steps=0",
		"--accum=1", "--shuffle=false", fmt.Sprint("--steps=", e.Steps)}, more...)
}

// begin trains, or does as train does under --dry-run.
func begin(t *testing.T, log *bytes.Buffer, args ...string) (rundir.Result, error) {
	t.Helper()
	c := options(t, args...)
	if c.DryRun {
		_, err := train.DryRun(t.Context(), c, cpu.New(2), log)
		return rundir.Result{}, err
	}
	return train.Run(t.Context(), c, cpu.New(2), log)
}

func run(t *testing.T, args ...string) (rundir.Result, string) {
	t.Helper()
	var log bytes.Buffer
	res, err := begin(t, &log, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	return res, log.String()
}

func runError(t *testing.T, args ...string) error {
	t.Helper()
	_, err := begin(t, &bytes.Buffer{}, args...)
	return err
}

func metrics(t *testing.T, out string) []rundir.Metrics {
	t.Helper()
	b := testkit.Read(t, filepath.Join(out, "metrics.jsonl"))
	var ms []rundir.Metrics
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		var m rundir.Metrics
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if m.Step != i+1 {
			t.Fatalf("line %d is of step %d", i+1, m.Step)
		}
		ms = append(ms, m)
	}
	return ms
}

// Training from the reference adapter gives the reference's losses, norms and adapter, however it is tiled.
func TestGoldenTraining(t *testing.T) {
	for _, name := range []string{"mha-linear", "gqa-llama3", "odd-heads-yarn", "families/llama-bias", "families/mistral-window", "ragged-window",
		"families/nf4-double", "families/nf4-plain", "families/qwen2", "families/qwen3", "families/granite", "families/smollm3", "families/phi3", "families/olmo2", "families/gpt-neox", "families/gemma2"} {
		e := testkit.Golden(t, name)
		want := testkit.Floats(t, filepath.Join(goldenDir, name, "adapter-trained", "adapter_model.safetensors"))
		const limit = 1e-5
		tiles := []int{e.Group/2 + 5, e.Ctx, e.Group}
		if testing.Short() {
			tiles = tiles[:1]
		}
		for _, tile := range tiles {
			out := t.TempDir()
			run(t, goldenArgs(name, e, out, fmt.Sprint("--tile=", tile))...)
			for i, m := range metrics(t, out) {
				if d := math.Abs(m.Loss-e.Train.Losses[i]) / e.Train.Losses[i]; !(d <= 1e-4) {
					t.Errorf("%s tile %d step %d: loss %v, want %v", name, tile, i+1, m.Loss, e.Train.Losses[i])
				}
				if d := math.Abs(m.GradNorm-e.Train.Norms[i]) / e.Train.Norms[i]; !(d <= 1e-4) {
					t.Errorf("%s tile %d step %d: norm %v, want %v", name, tile, i+1, m.GradNorm, e.Train.Norms[i])
				}
			}
			got := testkit.Floats(t, filepath.Join(out, "adapter_model.safetensors"))
			if len(got) != len(want) {
				t.Errorf("%s: %d tensors, want %d", name, len(got), len(want))
			}
			for n, w := range want {
				if len(got[n]) != len(w) {
					t.Errorf("%s: %s has %d elements, want %d", name, n, len(got[n]), len(w))
				} else if d := testkit.Relative(got[n], w); d > limit {
					t.Errorf("%s tile %d: %s is off by %g", name, tile, n, d)
				}
			}
		}
	}
}

// With --tune full the biases are trained too, and decay as all but norms do: losses, norms and weights are PyTorch's.
func TestGoldenFullTuning(t *testing.T) {
	e := testkit.Golden(t, "biases")
	want := testkit.Floats(t, filepath.Join(goldenDir, "biases", "expected.safetensors"))
	dir, out := filepath.Join(goldenDir, "biases"), t.TempDir()
	run(t, "--model="+filepath.Join(dir, "model"), "--data="+filepath.Join(dir, "tokens.bin"), "--out="+out, fmt.Sprint("--ctx=", e.Ctx), "--tune=full", "--attn=full",
		fmt.Sprint("--lr=", e.LR), "--weight-decay=0.1", "--warmup-steps=0", "--accum=1", "--shuffle=false", fmt.Sprint("--steps=", e.Steps))
	for i, m := range metrics(t, out) {
		if !near(m.Loss, e.Train.Losses[i], 1e-5) || !near(m.GradNorm, e.Train.Norms[i], 1e-5) {
			t.Errorf("step %d: loss %v and norm %v, want %v and %v", i+1, m.Loss, m.GradNorm, e.Train.Losses[i], e.Train.Norms[i])
		}
	}
	got := testkit.Floats(t, filepath.Join(out, "model.safetensors"))
	biases := 0
	for n, v := range got {
		if d := testkit.Relative(v, want["trained."+n]); !(d < 1e-5) {
			t.Errorf("%s is off by %g", n, d)
		}
		if strings.HasSuffix(n, ".bias") {
			biases++
		}
	}
	if biases != 14 {
		t.Errorf("%d biases were written, want 7 a layer", biases)
	}
}

func near(got, want, relative float64) bool { return math.Abs(got-want) <= relative*math.Abs(want) }

// written is what two equal runs must share to the bit.
func written(t *testing.T, out string, steps int) map[string]string {
	t.Helper()
	got := map[string]string{}
	last := filepath.Join("checkpoints", fmt.Sprintf("step-%06d", steps))
	for _, n := range []string{"adapter_model.safetensors", "adapter_config.json", filepath.Join(last, "adapter_model.safetensors"), filepath.Join(last, "optimizer.safetensors")} {
		b := testkit.Read(t, filepath.Join(out, n))
		got[n] = string(b)
	}
	return got
}

// fuse is a context that is found cancelled from the n-th look on: it stops a run at any place where it can stop.
type fuse struct {
	context.Context
	left int
}

func (f *fuse) Err() error {
	if f.left--; f.left < 0 {
		return context.Canceled
	}
	return nil
}

// A run that is interrupted at any place and started again ends with the bits of an unbroken one.
func TestResumeIsExact(t *testing.T) {
	const name, steps = "gqa-llama3", 3
	e := testkit.Golden(t, name)
	e.Steps = steps
	args := func(out string) []string {
		return goldenArgs(name, e, out, "--shuffle=true", "--dropout=0.1", "--accum=2", "--tile=50", "--eval-fraction=0.1", "--eval-every=2", "--schedule=cosine", "--save-every=2", "--full-last=0.4")
	}
	whole := t.TempDir()
	first, _ := run(t, args(whole)...)
	want, lines := written(t, whole, steps), metrics(t, whole)
	stops := 0
	for {
		out := t.TempDir()
		c := options(t, args(out)...)
		_, err := train.Run(&fuse{t.Context(), stops}, c, cpu.New(2), &bytes.Buffer{})
		if err == nil {
			break
		}
		if errs.Code(err) != int(errs.Interrupted) {
			t.Fatalf("stopped at place %d: %v", stops, err)
		}
		res, _ := run(t, args(out)...)
		if res.Loss != first.Loss || res.Tokens != first.Tokens || res.Steps != steps {
			t.Errorf("stopped at place %d: result %+v, want %+v", stops, res, first)
		}
		for n, got := range written(t, out, steps) {
			if got != want[n] {
				t.Errorf("stopped at place %d: %s differs", stops, n)
			}
		}
		for i, m := range metrics(t, out) {
			if got, w := bits(m), bits(lines[i]); got != w {
				t.Errorf("stopped at place %d: line %d is %s, want %s", stops, i+1, got, w)
			}
		}
		stops++
	}
	if stops < 3*steps {
		t.Errorf("the run could be stopped at %d places only", stops)
	}
}

// bits is a line of metrics without what the clock and the process have to say.
func bits(m rundir.Metrics) string {
	m.TokPerS, m.StepS, m.HostPeak = 0, 0, 0
	b, err := json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// tokenFile writes ids as a stream of uint16.
func tokenFile(t *testing.T, ids []uint16) string {
	t.Helper()
	b := make([]byte, 0, 2*len(ids))
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint16(b, id)
	}
	p := filepath.Join(t.TempDir(), "tokens.bin")
	testkit.Write(t, p, b)
	return p
}
