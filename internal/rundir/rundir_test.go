package rundir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/testkit"
)

func TestFingerprintModel(t *testing.T) {
	dir := t.TempDir()
	testkit.Write(t, filepath.Join(dir, "config.json"), "{}")
	var weights []string
	for _, n := range []string{"a", "b", "c"} {
		weights = append(weights, testkit.Write(t, filepath.Join(dir, n+".safetensors"), n))
	}
	a, err := FingerprintModel(dir, weights)
	if err != nil || len(a.Files) != 3 {
		t.Fatalf("%v, %v", a, err)
	}
	testkit.Write(t, weights[1], "B")
	c, err := FingerprintModel(dir, weights)
	if err != nil || a.Config != c.Config || a.Files[0] != c.Files[0] || a.Files[1] == c.Files[1] {
		t.Errorf("a changed byte: %v, then %v, %v", a, c, err)
	}
}

// Checkpoints come by their steps, whatever else lies beside them; the last adapter is a whole one.
func TestCheckpoints(t *testing.T) {
	run := t.TempDir()
	if list, err := Checkpoints(run); err != nil || list != nil {
		t.Errorf("none: %v, %v", list, err)
	}
	for _, step := range []int{20, 1000000, 3} {
		testkit.Write(t, filepath.Join(CheckpointDir(run, step), RecordFile), "{}")
	}
	testkit.Write(t, filepath.Join(CheckpointDir(run, 20), AdapterFile), "")
	for _, other := range []string{"step-7", "step-000009.tmp", ".step-000040.longlora-0123456789abcdef.tmp"} {
		testkit.Write(t, filepath.Join(run, CheckpointsDir, other, AdapterFile), "")
	}
	testkit.Write(t, filepath.Join(run, CheckpointsDir, "step-000099"), "a file")
	list, err := Checkpoints(run)
	var steps []int
	for _, d := range list {
		steps = append(steps, StepOf(d))
	}
	if err != nil || len(steps) != 3 || steps[0] != 3 || steps[1] != 20 || steps[2] != 1000000 {
		t.Errorf("%v, %v", list, err)
	}
	if dir, step := LastAdapter(run); dir != CheckpointDir(run, 20) || step != 20 {
		t.Errorf("the last adapter: %s of step %d", dir, step)
	}
}

// A record is read by those who use the adapter beside it as it was written, or as somebody wrote it by hand: never with
// a field taken for absent that is there.
func TestReadHead(t *testing.T) {
	sealed := string(files.Seal([]byte(`{"longlora": "training run 2", "positions": {"max_position_embeddings": 256}}`)))
	for name, c := range map[string]struct{ text, want string }{
		"as written":        {sealed, ""},
		"by hand":           {`{"positions": {"max_position_embeddings": 256, "sliding_window": "off"}}`, ""},
		"changed":           {strings.Replace(sealed, "256", "512", 1), "run.json: it is not as it was written"},
		"a window of null":  {`{"positions": {"sliding_window": null}}`, `run.json: positions.sliding_window: null is not "keep"`},
		"a window of words": {`{"positions": {"sliding_window": "none"}}`, `sliding_window: "none" is not "keep"`},
	} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, RecordFile), c.text)
		h, err := ReadHead(dir)
		if c.want == "" && (err != nil || h.Positions == nil || h.Positions.MaxPos != 256) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
		if c.want != "" && (errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if h, err := ReadHead(t.TempDir()); h != nil || err != nil {
		t.Errorf("nothing there: %+v, %v", h, err)
	}
}

// A finished folder takes an older one's place, and every byte that was written is held to.
func TestFolderAsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	for _, text := range []string{"one", "two"} {
		tmp, err := files.MakeTemp(dir)
		if err != nil {
			t.Fatal(err)
		}
		testkit.Write(t, filepath.Join(tmp, "a"), text)
		if err := files.Place(dir, tmp); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(testkit.Read(t, filepath.Join(dir, "a"))); got != "two" {
		t.Errorf("the folder holds %q", got)
	}
	written, err := files.Folder(dir)
	if err != nil || len(written) != 1 {
		t.Fatalf("%v, %v", written, err)
	}
	if err := files.Intact(dir, written); err != nil {
		t.Error(err)
	}
	testkit.Write(t, filepath.Join(dir, "a"), "twO")
	if err := files.Intact(dir, written); errs.Code(err) != 4 || !strings.Contains(err.Error(), "not the file that was written") {
		t.Errorf("changed: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := files.Intact(dir, written); errs.Code(err) != 4 {
		t.Errorf("gone: %v", err)
	}
	written[0].Name = "../d/a"
	if err := files.Intact(dir, written); errs.Code(err) != 4 || !strings.Contains(err.Error(), "no file's name") {
		t.Errorf("elsewhere: %v", err)
	}
}
