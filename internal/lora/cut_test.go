package lora_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/lora"
)

const cutDir = "LONGLORA_TEST_CUT"

// TestCutProcess is not a test of its own: a file that broke is known for that to its process's end.
func TestCutProcess(t *testing.T) {
	dir := os.Getenv(cutDir)
	if dir == "" {
		t.Skip("runs only as the process of TestCutOff")
	}
	b, err := load.Open(filepath.Join(dir, "model"), filepath.Join(dir, "adapter-trained"))
	if err == nil {
		err = os.Truncate(filepath.Join(dir, "model/model.safetensors"), 4096)
	}
	if err == nil {
		_, err = lora.Merge(t.Context(), lora.MergeOptions{Base: b.Weights, Desc: b.Desc(), Adapter: b.Adapter, Scale: 1, Positions: b.Positions,
			Out: filepath.Join(dir, "out"), ShardSize: 1 << 30})
	}
	fmt.Println(err)
	os.Exit(errs.Code(err))
}

// A model that is cut off while it is merged: exit 4 with the file's name, and nothing of the merge is left.
func TestCutOff(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(golden+"mha-linear")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCutProcess$")
	cmd.Env = append(os.Environ(), cutDir+"="+dir)
	said, _ := cmd.CombinedOutput()
	if want := dir + "/model/model.safetensors: it was cut off"; cmd.ProcessState.ExitCode() != 4 || !strings.Contains(string(said), want) {
		t.Errorf("exit %d: %s", cmd.ProcessState.ExitCode(), said)
	}
	if left, _ := filepath.Glob(dir + "/*out*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
