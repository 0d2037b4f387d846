package train_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"longlora/internal/files"
	"longlora/internal/train"
)

// Where the state of trained matrices waits changes no bit of a run that accumulates several micro-batches and clips, of
// one process and of two; neither where the head, trained too, has a gradient of its own, nor where it is the embedding.
func TestWaitingStateOfRun(t *testing.T) {
	for _, c := range []struct {
		name string
		more []string
	}{{"mha-linear", nil}, {"mha-linear", []string{"--train-head"}}, {"gqa-llama3", nil}} {
		for _, size := range []int{1, 2} {
			t.Run(fmt.Sprint(c.name, c.more, size), func(t *testing.T) {
				args := func(out string) []string {
					return together(c.name, out, append(c.more, "--beta1=0.9", "--max-grad-norm=0.05")...)
				}
				here := t.TempDir()
				rankedWell(t, size, args(here)...)
				from := filepath.Join(here, "checkpoints", "step-000001")
				r, err := train.ReadRecord(from)
				if err != nil {
					t.Fatal(err)
				}
				r.Plan.HostState = true
				if err := files.WriteSealed(filepath.Join(from, "run.json"), r); err != nil {
					t.Fatal(err)
				}
				away := t.TempDir()
				rankedWell(t, size, append(args(away), "--resume="+from)...)
				if r, err = train.ReadRecord(filepath.Join(away, "checkpoints", "step-000004")); err != nil || !r.Plan.HostState || r.Plan.State == 0 {
					t.Fatalf("nothing waited: %+v (%v)", r.Plan, err)
				}
				for _, file := range []string{"adapter_model.safetensors", "checkpoints/step-000004/optimizer.safetensors"} {
					want, err := os.ReadFile(filepath.Join(here, file))
					if err != nil {
						t.Fatal(err)
					}
					if got, err := os.ReadFile(filepath.Join(away, file)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: other bytes (%v)", file, err)
					}
				}
			})
		}
	}
}
