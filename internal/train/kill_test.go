package train_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"longlora/internal/ops/cpu"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

const helperArgs = "LONGLORA_TEST_TRAIN"

// TestTrainProcess is not a test of its own: the kill test runs it as the process that gets killed.
func TestTrainProcess(t *testing.T) {
	args := os.Getenv(helperArgs)
	if args == "" {
		t.Skip("runs only as the process of TestKillAnywhere")
	}
	if _, err := train.Run(t.Context(), options(t, strings.Split(args, "\n")...), cpu.New(1), &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
}

// A run that is killed (SIGKILL) again and again, at random moments, ends with the bits of an unbroken one.
func TestKillAnywhere(t *testing.T) {
	const steps, kills = 40, 12
	e := testkit.Golden(t, "mha-linear")
	e.Steps = steps
	args := func(out string) []string {
		return goldenArgs("mha-linear", e, out, "--shuffle=true", "--save-every=3", "--eval-fraction=0.2", "--eval-every=4", "--warmup-steps=5", "--full-last=0.4")
	}
	whole, out := t.TempDir(), t.TempDir()
	run(t, args(whole)...)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; ; i++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTrainProcess$")
		cmd.Env = append(os.Environ(), helperArgs+"="+strings.Join(args(out), "\n"))
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if i < kills {
			time.Sleep(time.Duration(20+r.IntN(180)) * time.Millisecond)
			_ = cmd.Process.Kill() // it may be done already
		}
		err := cmd.Wait()
		if err == nil {
			break
		}
		if i >= kills {
			t.Fatalf("%v\n%s", err, said.String())
		}
	}
	want, got := written(t, whole, steps), written(t, out, steps)
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("%s differs from an unbroken run's", n)
		}
	}
	ms, ws := metrics(t, out), metrics(t, whole)
	if len(ms) != steps {
		t.Fatalf("%d lines of metrics", len(ms))
	}
	for i := range ms {
		if bits(ms[i]) != bits(ws[i]) {
			t.Errorf("line %d: %s, want %s", i+1, bits(ms[i]), bits(ws[i]))
		}
	}
}
