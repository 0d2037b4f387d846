package folder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
	"longlora/internal/testkit"
)

// tree writes files below a new folder.
func tree(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range contents {
		testkit.Write(t, filepath.Join(dir, name), text)
	}
	return dir
}

// named are the files of a path, by their names relative to a folder, and the notes as one text.
func named(t *testing.T, path, dir string) (names []string, notes string) {
	t.Helper()
	list, said, err := Files(path, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		name, err := filepath.Rel(dir, f)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names, strings.Join(said, "\n")
}

// The files that get_data_patterns of datasets 5.2 finds for the split train, where it finds one; a file that it puts
// in no split stays.
func TestSplits(t *testing.T) {
	for _, c := range []struct{ files, left string }{
		{"train.jsonl test.jsonl", "test.jsonl"},
		{"training.jsonl testing.jsonl dev.jsonl valid.jsonl evaluation.jsonl", "testing.jsonl dev.jsonl valid.jsonl evaluation.jsonl"},
		{"my-train.jsonl my_val.jsonl eval.2.jsonl", "my_val.jsonl eval.2.jsonl"},
		{"trainer.jsonl latest.jsonl contest.jsonl", ""},
		{"train/a.jsonl test/a.jsonl validation/x/b.jsonl", "test/a.jsonl validation/x/b.jsonl"},
		{"en/train/a.jsonl en/train-2/b.jsonl en/test/b.jsonl", "en/test/b.jsonl"},
		{"data/train-00000-of-00001.parquet data/test-00000-of-00001.parquet data/unsupervised-00000-of-00001.parquet",
			"data/test-00000-of-00001.parquet data/unsupervised-00000-of-00001.parquet"},
		{"data/train_sft-00000-of-00001.parquet data/test_sft-00000-of-00001.parquet", "data/test_sft-00000-of-00001.parquet"},
		{"plain/train-00000-of-00001.parquet plain/test-00000-of-00001.parquet", "plain/test-00000-of-00001.parquet"},
		{"test.jsonl validation.jsonl", ""},
		{"a.jsonl b.jsonl", ""},
		{"train.test.jsonl test.jsonl", "test.jsonl"},
		{"train1.jsonl train2.jsonl test1.jsonl", "test1.jsonl"},
		{"Train.jsonl Test.jsonl", ""},
		{"train/test.jsonl train/b.jsonl other/b.jsonl", ""},
		{"books.train/a.txt books.val/b.txt", "books.val/b.txt"},
		{"train/a.txt test.txt more.txt", "test.txt"},
	} {
		other := otherSplits(strings.Fields(c.files), func(string) split { return noSplit })
		var left []string
		for _, f := range strings.Fields(c.files) {
			if other[f] {
				left = append(left, f)
			}
		}
		if got := strings.Join(left, " "); got != c.left {
			t.Errorf("%s: left out %q, want %q", c.files, got, c.left)
		}
	}
}

// The card of a data set says of which split a file is, whatever the file's name tells.
func TestSplitsOfACard(t *testing.T) {
	for _, c := range []struct{ card, read, note string }{
		{"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: a.jsonl\n  - split: test\n    path: b.jsonl\n", "a.jsonl d/c.jsonl", "b.jsonl"},
		{"configs:\n- data_files:\n  - split: train_sft\n    path: [a.*, 'd/*']\n  - split: val\n    path: '*.jsonl'\n", "a.jsonl d/c.jsonl", "b.jsonl"},
		{"configs:\n- data_files:\n    train: '[ab].jsonl'\n    dev: '**/[!ab].jsonl'\n", "a.jsonl b.jsonl", "d/c.jsonl"},
		{"configs:\n- data_dir: d\n  data_files: '?.jsonl'\n- data_files:\n  - split: test\n    path: a.jsonl\n", "b.jsonl d/c.jsonl", "a.jsonl"},
		{"configs:\n- data_files:\n  - split: en\n    path: a.jsonl\n  - split: de\n    path: b.jsonl\n", "a.jsonl b.jsonl d/c.jsonl", ""},
		{"configs:\n- data_files: [a.jsonl, b.jsonl]\n- data_files: hf://x/**\n", "a.jsonl b.jsonl d/c.jsonl", ""},
		{"license: mit\n", "a.jsonl b.jsonl d/c.jsonl", ""},
		{"configs: all\n", "a.jsonl b.jsonl d/c.jsonl", "README.md: which files are of which split is not read from it"},
		{"configs:\n- data_files:\n  - split: train\n    path: '[z-a].jsonl'\n", "a.jsonl b.jsonl d/c.jsonl", ""},
	} {
		dir := tree(t, map[string]string{"README.md": "---\r\n" + c.card + "---\n# Data\n", "a.jsonl": "{}", "b.jsonl": "{}", "d/c.jsonl": "{}"})
		got, notes := named(t, dir, dir)
		if notes = strings.ReplaceAll(notes, dir, ""); strings.Join(got, " ") != c.read || !strings.Contains(notes, c.note) || c.note == "" && strings.Contains(notes, "split") {
			t.Errorf("%s: %q, notes %s", c.card, got, notes)
		}
	}
}

// A card that would take minutes to hold against the files is passed over with a note, and names decide.
func TestCardOfTooManyPatterns(t *testing.T) {
	contents := map[string]string{"README.md": "---\nconfigs:\n- data_files:\n    test: [" + strings.Repeat("d,", 1<<18) + "]\n---\n"}
	for i := range 80 {
		contents[fmt.Sprintf("d%02d.jsonl", i)] = "{}"
	}
	dir := tree(t, contents)
	if got, notes := named(t, dir, dir); len(got) != 80 || !strings.Contains(notes, "not read from it: 262144 patterns for 8") {
		t.Errorf("%d files, notes %.300s", len(got), notes)
	}
}

// What lies beside data and is none is left out of a folder and said to be; by its own name any of it is taken.
func TestFilesLeavesOut(t *testing.T) {
	for _, c := range []struct{ name, files, want, said string }{
		{"a card", "d.jsonl README.md LICENSE.txt readme_zh.md LICENSE dataset_infos.json", "d.jsonl",
			"README.md, LICENSE.txt dataset_infos.json 1|file|is|passed|over,|no|data|files:|LICENSE"},
		{"texts alone", "README.md b.txt", "README.md b.txt", ""},
		{"notes", "d.jsonl e.txt licensed.md", "d.jsonl e.txt licensed.md", ""},
		{"splits", "train.jsonl test.jsonl more.jsonl", "more.jsonl train.jsonl", "other|splits test.jsonl"},
		{"no split to train on", "dev.jsonl test.jsonl", "dev.jsonl test.jsonl", ""},
		{"archives", "d.jsonl e.jsonl.xz", "d.jsonl", "e.jsonl.xz"},
	} {
		contents := map[string]string{}
		for _, f := range strings.Fields(c.files) {
			contents[f] = "x"
		}
		dir := tree(t, contents)
		names, notes := named(t, dir, dir)
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		for _, w := range strings.Fields(c.said) {
			if w = strings.ReplaceAll(strings.Trim(w, ","), "|", " "); !strings.Contains(notes, w) {
				t.Errorf("%s: %q does not say %q", c.name, notes, w)
			}
		}
		if c.said == "" && notes != "" {
			t.Errorf("%s: %s", c.name, notes)
		}
		for f := range contents {
			if alone, _ := named(t, filepath.Join(dir, f), dir); !slices.Equal(alone, []string{f}) {
				t.Errorf("%s: %s by its own name: %q", c.name, f, alone)
			}
		}
	}
}

// What longlora wrote below a folder of data is left out and said to be, by whatever link; files of the same names that
// it did not write are data, and so is such a folder that is named itself.
func TestFolderOfRuns(t *testing.T) {
	const record = "{\n  \"longlora\": \"training run 1\",\n  \"version\": \"0\"\n}"
	line := string(files.Seal([]byte(`{"key":"a"}`)))
	dir := tree(t, map[string]string{
		"a.txt": "x", "deep/run/" + rundir.RecordFile: record, "deep/run/" + rundir.MetricsFile: "x", "deep/b.txt": "x",
		"extended/" + rundir.ExtensionFile: strings.Replace(record, "training run", "extension", 1), "extended/merged/a.json": "x",
		"scores/" + rundir.JournalFile: line + "\n" + line + "\n", "scores/" + rundir.ResultsFile: "{}",
		"data/" + rundir.RecordFile: `{"text":"longlora"}`, "data/" + rundir.JournalFile: `{"key":"a"}`,
	})
	if err := os.Symlink(tree(t, map[string]string{rundir.RecordFile: record, "c.txt": "x"}), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	names, notes := named(t, dir, dir)
	if got := strings.Join(names, " "); got != "a.txt data/run.json data/windows.jsonl deep/b.txt" {
		t.Errorf("the files are %s", got)
	}
	if want := dir + ": 4 folders are left out, which longlora wrote: deep/run, extended, link, …"; notes != want {
		t.Errorf("the notes are %q, want %q", notes, want)
	}
	if names, _ := named(t, filepath.Join(dir, "deep"), dir); !slices.Equal(names, []string{"deep/b.txt"}) {
		t.Errorf("beside one run: %q", names)
	}
	if names, _ := named(t, filepath.Join(dir, "link"), dir); len(names) != 2 {
		t.Errorf("the run itself: %q", names)
	}
	if err := os.Remove(filepath.Join(dir, "deep", "b.txt")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Files(filepath.Join(dir, "deep"), ""); errs.Code(err) != 4 || !strings.HasSuffix(err.Error(), "; it has run") {
		t.Errorf("nothing but a run: %v", err)
	}
}

// Linked folders are entered once, under the name of the link where nothing else leads to them; a link to a folder
// above does not lead round and round.
func TestLinkedFolders(t *testing.T) {
	away := tree(t, map[string]string{"b.jsonl": "x", "deep/c.jsonl": "x"})
	dir := tree(t, map[string]string{"a.jsonl": "x", "z/d.jsonl": "x"})
	for link, to := range map[string]string{"more": away, "again": away, "z/up": "..", "here": "z", "self": ".", "z/e.jsonl": filepath.Join(away, "b.jsonl")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(away, "deep", "back")); err != nil {
		t.Fatal(err)
	}
	names, notes := named(t, dir, dir)
	if want := []string{"a.jsonl", "again/b.jsonl", "again/deep/c.jsonl", "z/d.jsonl", "z/e.jsonl"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if n := strings.Count(notes, "is not followed"); n != 5 {
		t.Errorf("%d links said to be passed over, of 5:\n%s", n, notes)
	}
}

// A folder's files come in the order of their paths' bytes; what is no data is passed over.
func TestFilesInOrder(t *testing.T) {
	dir := tree(t, map[string]string{"b/x.txt": "x", "B.jsonl": "x", "b.txt": "x", "b-.md": "x", "LICENSE": "no", ".git/a.txt": "no"})
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, link} {
		if names, _ := named(t, p, p); !slices.Equal(names, []string{"B.jsonl", "b-.md", "b.txt", "b/x.txt"}) {
			t.Errorf("%s: %q", p, names)
		}
	}
}

// What is there compressed and not is taken twice, which is said.
func TestFilesAlike(t *testing.T) {
	dir := tree(t, map[string]string{"a.jsonl": "x", "a.jsonl.gz": "x"})
	const want = "1 file is there under the same name uncompressed or otherwise compressed, and all are read: a.jsonl.gz"
	if names, notes := named(t, dir, dir); len(names) != 2 || !strings.Contains(notes, want) {
		t.Errorf("%q: %s", names, notes)
	}
}

// A path where nothing is, but that another program would make something of, says what to do instead.
func TestAbsentData(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, n := range []string{"a.txt", "b.txt", "c d.txt"} {
		testkit.Write(t, filepath.Join(dir, n), "x")
	}
	for path, want := range map[string]string{
		"-":                       "write it into a file first",
		"https://a.org/b.txt?c=1": "download it first with: curl -LO 'https://a.org/b.txt?c=1'",
		"?.txt":                   "(a.txt, b.txt), or their folder",
		"a.txt,b.txt":             "(a.txt, b.txt), or their folder",
		"org/name":                "hf download --repo-type dataset org/name --local-dir name",
		"nowhere.txt":             "no such file or directory",
		"nowhere":                 "no such file or directory",
		"a.txt,nowhere.txt":       "no such file or directory",
		"/*/*/*/*/*/*/*/x":        "no such file or directory", // for which nobody waits
	} {
		_, _, err := Files(path, "")
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, which does not say %q", path, err, want)
		}
	}
	if err := os.Mkdir("data", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Files("data/none", ""); err == nil || strings.Contains(err.Error(), "hf download") {
		t.Errorf("a file that is not in a folder: %v", err)
	}
}

// Folders that datasets wrote are taken as it reads them: in the order of state.json, the train split alone, without
// what map and filter leave beside the data.
func TestSavedByDatasets(t *testing.T) {
	copied := func(from string) string {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return to
	}
	turned := copied("testdata/saved")
	state := filepath.Join(turned, "state.json")
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	edit := func(old, new string) {
		s := strings.ReplaceAll(text, old, new)
		if s == text {
			t.Fatalf("%s has no %s", text, old)
		}
		if err := os.WriteFile(state, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(path string, want []string, says ...string) {
		t.Helper()
		dir := path
		if filepath.Ext(path) == ".arrow" {
			dir = filepath.Dir(path)
		}
		names, notes := named(t, path, dir)
		if !slices.Equal(names, want) {
			t.Errorf("%s: %q, want %q", path, names, want)
		}
		for _, s := range says {
			if !strings.Contains(notes, s) {
				t.Errorf("%s: %s does not say %s", path, notes, s)
			}
		}
	}
	const first, second, alone = "data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "data-00000-of-00001.arrow"
	check("testdata/saved", []string{first, second}, "1 file is left out, not of the data set that state.json names: cache-0123456789abcdef.arrow", "left out as metadata: dataset_info.json, state.json")
	check("testdata/splits", []string{"train/" + alone}, "2 files are left out, of other splits than the one to train on (name one to read it): extra/data-00000-of-00001.arrow, test/")
	check("testdata/splits/extra", []string{alone})
	edit("data-00000-of-00002", "data-x")
	check(filepath.Join(turned, second), []string{second})
	if _, _, err := Files(turned, ""); errs.Code(err) != 4 || !strings.Contains(err.Error(), "there is no data-x.arrow beside it") {
		t.Errorf("a file that is gone: %v", err)
	}
	edit("data-00000-of-00002", "data-00001-of-00002")
	check(turned, []string{second}, "left out, not of the data set")
	edit(`"data-00000-of-00002.arrow"`, `"data-00001-of-00002.arrow"}, {"filename": "data-00000-of-00002.arrow"`)
	check(turned, []string{second, first})
	edit(`"_split"`, `"_indices_files": [{"filename": "indices.arrow"}], "_split"`)
	for _, p := range []string{turned, filepath.Join(turned, "data-00000-of-00002.arrow")} {
		if _, _, err := Files(p, ""); errs.Code(err) != 4 || !strings.Contains(err.Error(), `field "_indices_files"`) || !strings.Contains(err.Error(), "flatten_indices()") {
			t.Errorf("rows by a list: %v", err)
		}
	}
	for _, lost := range []string{"train", "none"} {
		dir := copied("testdata/splits")
		if err := os.Rename(filepath.Join(dir, "train"), filepath.Join(dir, "moved")); err != nil {
			t.Fatal(err)
		}
		if lost == "none" {
			if err := os.WriteFile(filepath.Join(dir, "dataset_dict.json"), []byte(`{"splits": ["extra", "moved", "test"]}`), 0o644); err != nil {
				t.Fatal(err)
			}
			check(dir, []string{"extra/" + alone, "moved/" + alone, "test/" + alone})
		} else if _, _, err := Files(dir, ""); errs.Code(err) != 4 || !strings.Contains(err.Error(), `field "splits": there is no folder train`) {
			t.Errorf("a split that is gone: %v", err)
		}
	}
}
