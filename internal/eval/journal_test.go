package eval

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
)

// keep writes n results into a journal.
func keep(t *testing.T, dir string, from, to int) {
	t.Helper()
	j, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	for i := from; i < to; i++ {
		if err := j.add(line{Key: fmt.Sprint("key", i), Score: &Score{Sum: Sum{Sum: float64(i) / 3, Count: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// A damaged line is not believed and said; what a kill tears off the end is cut away; the rest counts.
func TestJournalDamaged(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	keep(t, dir, 0, 5)
	path := filepath.Join(dir, rundir.JournalFile)
	b := testkit.Read(t, path)
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines[2] = bytes.Replace(lines[2], []byte(`"sum":0.66`), []byte(`"sum":0.65`), 1) // still JSON, still with a hash
	torn := append(bytes.Join(lines, nil), lines[1][:20]...)
	if bytes.Contains(torn[:len(torn)-20], []byte(`"sum":0.66`)) {
		t.Fatal("nothing is damaged")
	}
	testkit.Write(t, path, torn)
	j, err := openJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, kept := j.have["key2"]; len(j.have) != 4 || kept || !strings.Contains(j.note(), "damaged: 1 line;") {
		t.Errorf("%d results, the damaged one kept: %v, %q", len(j.have), kept, j.note())
	}
	j.close()
	keep(t, dir, 2, 3) // computed again
	if j, err = openJournal(dir); err != nil || len(j.have) != 5 || j.have["key4"].Score.Sum.Sum != 4.0/3 {
		t.Errorf("%d results: %v", len(j.have), err)
	}
	j.close()
	if b, err = os.ReadFile(path); err != nil || bytes.Contains(b, torn[len(torn)-20:]) && bytes.Count(b, []byte("\n")) != 6 {
		t.Errorf("%v: %q", err, b)
	}
}

// What eval did not write is left alone, and one process at a time writes.
func TestJournalForeign(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	for name, c := range map[string]struct{ file, text string }{
		"lines":                {rundir.JournalFile, `{"key":"a","score":{"sum":1,"count":1}}` + "\n"},
		"text":                 {rundir.JournalFile, "my own notes"},
		"a long line":          {rundir.JournalFile, long + "\n"},
		"foreign results":      {rundir.ResultsFile, `{"results": "of an exam"}`},
		"foreign list":         {rundir.ResultsFile, `{"results": [{"name": "x"}]}`},
		"a list":               {rundir.ResultsFile, `[1]`},
		"no results":           {rundir.ResultsFile, `{"results": []}`},
		"results that are not": {rundir.ResultsFile, "hello"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, c.file)
		testkit.Write(t, path, c.text)
		_, err := openJournal(dir)
		if errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), c.file) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != c.text {
			t.Errorf("%s: changed", name)
		}
	}
	for _, text := range []string{`{"results": [], "seed": 0}`, `{"results": null, "seed": 7}`} { // where no length had a window
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, rundir.ResultsFile), text)
		j, err := openJournal(dir)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		j.close()
	}
	for name, text := range map[string]string{"nothing": "", "a torn first line": `{"key":"ab`, "its first letters": `{"k`} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, rundir.JournalFile), text)
		keep(t, dir, 0, 1)
		j, err := openJournal(dir)
		if err != nil || len(j.have) != 1 || j.damaged != 0 {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := openJournal(dir); errs.Code(err) != int(errs.Usage) || !strings.Contains(err.Error(), "another evaluation") {
			t.Errorf("a second process: %v", err)
		}
		j.close()
	}
	out := filepath.Join(t.TempDir(), "run")
	j, err := openJournal(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(out); err != nil {
		t.Fatal(err)
	}
	if err := j.add(line{Key: "a"}); errs.Code(err) != int(errs.Data) || !strings.Contains(err.Error(), out) {
		t.Errorf("the folder is gone: %v", err)
	}
	j.close()
}

// Whatever stands in a journal, its whole lines are found and nothing else is believed.
func FuzzJournal(f *testing.F) {
	whole := append(files.Seal([]byte(`{"key":"a","right":true}`)), '\n')
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), whole[:10]...))
	f.Add([]byte("{\"key\":\"\"}\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		j := &journal{have: map[string]line{}}
		if _, err := j.read(bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if j.end > int64(len(b)) || len(j.have)+j.damaged > bytes.Count(b, []byte("\n")) {
			t.Errorf("%d results and %d damaged lines in %d bytes of %d", len(j.have), j.damaged, j.end, len(b))
		}
	})
}
