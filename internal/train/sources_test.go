package train_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/ops/cpu"
	"longlora/internal/testkit"
	"longlora/internal/train"
)

// cutFile names what TestCutProcess cuts off while it trains.
const cutFile = "LONGLORA_TEST_CUT"

// TestCutProcess is not a test of its own: a file that broke is known for that to its process's end.
func TestCutProcess(t *testing.T) {
	args, file := os.Getenv(helperArgs), os.Getenv(cutFile)
	if file == "" {
		t.Skip("runs only as the process of TestMappedFileCutOff")
	}
	var cut error
	ctx := &meddler{t.Context(), 40, func() { cut = os.Truncate(file, 0) }}
	_, err := train.Run(ctx, options(t, strings.Split(args, "\n")...), cpu.New(2), &bytes.Buffer{})
	fmt.Printf("%v\n", firstOf(cut, err))
	os.Exit(errs.Code(firstOf(cut, err)))
}

// caseArgs is a reference case's training of 60 steps from files of its own.
func caseArgs(t *testing.T, more ...string) (dir string, args func(out string) []string) {
	t.Helper()
	const name = "mha-linear"
	e := testkit.Golden(t, name)
	e.Steps = 60
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(goldenDir, name))); err != nil {
		t.Fatal(err)
	}
	return dir, func(out string) []string {
		own := goldenArgs(name, e, out, more...)
		for i, a := range own {
			own[i] = strings.ReplaceAll(a, filepath.Join(goldenDir, name), dir)
		}
		return own
	}
}

// A file that is cut off while it is mapped, and read by Go or by the C kernels, ends the run with exit 4 and its name.
// The last completed step is saved, none that saw the fault; with the file put back the same command ends with the bits
// of an unbroken run.
func TestMappedFileCutOff(t *testing.T) {
	for _, name := range []string{"model/model.safetensors", "tokens.bin"} {
		dir, args := caseArgs(t, "--save-every=1000", "--eval-fraction=0.2", "--eval-every=5")
		file, whole, out := filepath.Join(dir, name), t.TempDir(), filepath.Join(t.TempDir(), "out")
		run(t, args(whole)...)
		was := string(testkit.Read(t, file))
		cmd := exec.Command(os.Args[0], "-test.run=^TestCutProcess$")
		cmd.Env = append(os.Environ(), helperArgs+"="+strings.Join(args(out), "\n"), cutFile+"="+file)
		said, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 4 || !strings.Contains(string(said), file+": it was cut off while it was in use") || !strings.Contains(string(said), "of 60 is saved") {
			t.Fatalf("%s: exit %d:\n%s", name, code, said)
		}
		testkit.Write(t, file, was)
		run(t, args(out)...)
		if adapterOf(t, out) != adapterOf(t, whole) {
			t.Errorf("%s: not the bits of an unbroken run", name)
		}
		if len(metrics(t, out)) != 60 {
			t.Errorf("%s: %d lines of metrics", name, len(metrics(t, out)))
		}
	}
}

// A file that is written to or replaced while rows or weights are read from it ends the run with exit 4 at the next
// checkpoint, which is not written; the one before stays, and with the file as it was the same command ends with the bits
// of an unbroken run. A file that was read before is only told of, and one that was touched alone is not.
func TestSourceChanged(t *testing.T) {
	replace := func(t *testing.T, path string) {
		testkit.Write(t, path+".new", string(testkit.Read(t, path))+" ")
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	touch := func(t *testing.T, path string) { testkit.Write(t, path, string(testkit.Read(t, path))) }
	_, args := caseArgs(t)
	whole := t.TempDir() // the same bits for all: their files are copies
	run(t, args(whole)...)
	for _, c := range []struct {
		name, file string
		f          func(t *testing.T, path string)
		code       int
		want       string
	}{
		{"weights written to", "model/model.safetensors", flip, 4, "was changed or replaced while it was trained from"},
		{"weights replaced", "model/model.safetensors", replace, 4, "was changed or replaced while it was trained from"},
		{"tokens written to", "tokens.bin", flip, 4, "was changed or replaced while it was trained from"},
		{"tokens removed", "tokens.bin", func(t *testing.T, path string) { os.Remove(path) }, 4, "was changed or replaced while it was trained from"},
		{"a token without a row", "tokens.bin", func(t *testing.T, path string) {
			testkit.Write(t, path, strings.Repeat("\xff", len(string(testkit.Read(t, path)))))
		}, 4, "was changed or replaced while it was trained from"},
		{"adapter written to", "adapter-init/adapter_model.safetensors", flip, 0, "warning: "},
		{"touched", "model/model.safetensors", touch, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, args := caseArgs(t, "--save-every=4")
			file, out := filepath.Join(dir, c.file), filepath.Join(t.TempDir(), "out")
			was := string(testkit.Read(t, file))
			var log bytes.Buffer
			_, err := train.Run(&meddler{t.Context(), 40, func() { c.f(t, file) }}, options(t, args(out)...), cpu.New(2), &log)
			said := log.String()
			if err != nil {
				said = err.Error()
			}
			if errs.Code(err) != c.code || !strings.Contains(said, c.want) || c.want != "" && strings.Count(said, file) != 1 {
				t.Fatalf("exit %d: %s", errs.Code(err), said)
			}
			if c.code == 0 {
				if c.want == "" && strings.Contains(said, file) {
					t.Error(said)
				}
				return
			}
			if list := listing(t, filepath.Join(out, "checkpoints")); !strings.Contains(list, "step-0000") {
				t.Errorf("no checkpoint is left: %s", list)
			}
			testkit.Write(t, file, was)
			run(t, args(out)...)
			if adapterOf(t, out) != adapterOf(t, whole) {
				t.Error("not the bits of an unbroken run")
			}
		})
	}
}
