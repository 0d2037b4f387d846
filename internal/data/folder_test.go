package data

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
)

// tree writes files below a new folder.
func tree(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range contents {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
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
		other := otherSplits(strings.Fields(c.files))
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

// What lies beside data and is none is left out of a folder and said to be; by its own name any of it is read.
func TestFolderLeavesOut(t *testing.T) {
	const one, two = `{"text":"one"}`, `{"text":"two"}`
	for _, c := range []struct {
		name     string
		contents map[string]string
		want     []string
		said     []string
	}{
		{"a card", map[string]string{"d.jsonl": one, "README.md": "a card", "LICENSE.txt": "MIT", "readme_zh.md": "x", "LICENSE": "MIT", "dataset_infos.json": "{}"},
			[]string{"one"}, []string{"README.md", "LICENSE.txt", "dataset_infos.json", "passed over, no data files: LICENSE"}},
		{"texts alone", map[string]string{"README.md": "one", "b.txt": "two"}, []string{"one", "two"}, nil},
		{"notes", map[string]string{"d.jsonl": one, "e.txt": "two", "licensed.md": "three"}, []string{"one", "two", "three"}, nil},
		{"splits", map[string]string{"train.jsonl": one, "test.jsonl": two, "more.jsonl": two}, []string{"two", "one"}, []string{"other splits", "test.jsonl"}},
		{"no split to train on", map[string]string{"dev.jsonl": one, "test.jsonl": two}, []string{"one", "two"}, nil},
		{"archives", map[string]string{"d.jsonl": one, "e.jsonl.xz": "x"}, []string{"one"}, []string{"e.jsonl.xz"}},
	} {
		dir := tree(t, c.contents)
		var log bytes.Buffer
		o := realOptions(t, dir, "", 0)
		o.Log = &log
		var want []string
		for _, w := range c.want {
			want = append(want, "<s>"+w+"</s>")
		}
		if got := texts(t, o); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
		for _, w := range c.said {
			if !strings.Contains(log.String(), w) {
				t.Errorf("%s: %q does not say %q", c.name, log.String(), w)
			}
		}
		if len(c.said) == 0 && strings.Contains(log.String(), "left out") {
			t.Errorf("%s: %s", c.name, log.String())
		}
		for name := range c.contents {
			if k, _ := datafile.KindOf(name); k.Structured() && !slices.Contains(metadata, name) {
				if got := texts(t, realOptions(t, filepath.Join(dir, name), "", 0)); len(got) != 1 {
					t.Errorf("%s: %s by its own name: %q", c.name, name, got)
				}
			}
		}
	}
}

// Linked folders are read once, under the name of the link where nothing else leads to them; a link to a folder above
// does not lead round and round.
func TestLinkedFolders(t *testing.T) {
	away := tree(t, map[string]string{"b.jsonl": `{"text":"two"}`, "deep/c.jsonl": `{"text":"three"}`})
	dir := tree(t, map[string]string{"a.jsonl": `{"text":"one"}`, "z/d.jsonl": `{"text":"four"}`})
	for link, to := range map[string]string{"more": away, "again": away, "z/up": "..", "here": "z", "self": ".", "z/e.jsonl": filepath.Join(away, "b.jsonl")} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(away, "deep", "back")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := realOptions(t, dir, "", 0)
	o.Log = &log
	want := []string{"<s>one</s>", "<s>two</s>", "<s>three</s>", "<s>four</s>", "<s>two</s>"} // a, again/b, again/deep/c, z/d, z/e
	if got := texts(t, o); !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if n := strings.Count(log.String(), "is not followed"); n != 5 {
		t.Errorf("%d links said to be passed over, of 5:\n%s", n, log.String())
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "x.jsonl")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), realOptions(t, dir, "", 8)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "x.jsonl") {
		t.Errorf("a link to nowhere: %v", err)
	}
}

// A file that is written to or replaced between the first look and the end of reading is refused.
func TestFileChangesWhileRead(t *testing.T) {
	for what, change := range map[string]func(p string) error{
		"grown": func(p string) error {
			return os.WriteFile(p, []byte("{\"text\":\"a\"}\n{\"text\":\"b\"}\n"), 0o644)
		},
		"replaced": func(p string) error {
			if err := os.WriteFile(p+"x", []byte("{\"text\":\"b\"}\n"), 0o644); err != nil {
				return err
			}
			return os.Rename(p+"x", p)
		},
		"removed": os.Remove,
	} {
		p := write(t, "a.jsonl", "{\"text\":\"a\"}\n")
		o := realOptions(t, p, "", 8)
		s, err := openSource(p, &o)
		if err == nil {
			err = change(p)
		}
		if err == nil {
			err = s.load(t.Context())
		}
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), "a.jsonl") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A folder's files are read in the order of their paths' bytes; what is no data is passed over.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"b/x.txt": "2", "B.jsonl": "{\"text\":\"1\"}", "b.txt": "3", "b-.md": "0", "LICENSE": "no", ".git/a.txt": "no"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	want := []string{"<s>1</s>", "<s>0</s>", "<s>3</s>", "<s>2</s>"} // B < b-.md < b.txt < b/x.txt
	for _, p := range []string{dir, link} {
		if got := texts(t, realOptions(t, p, "", 0)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q", p, got)
		}
	}
}

// Of several files some may hold no document, which is said; all may not.
func TestFilesWithoutDocuments(t *testing.T) {
	none, err := os.ReadFile("parquet/testdata/none.parquet")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"a.json": "[]", "b.parquet": string(none), "c.jsonl": "{\"text\":\"one\"}", "d.csv": "text\n", "e.jsonl": "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	for _, format := range []string{Auto, Text} {
		o := realOptions(t, dir, "", 0)
		o.Log, o.Format = &log, format
		log.Reset()
		if got := texts(t, o); !reflect.DeepEqual(got, []string{"<s>one</s>"}) || !strings.Contains(log.String(), "4 files are passed over, without a document: ") {
			t.Errorf("%q\n%s", got, log.String())
		}
	}
	if err := os.Remove(filepath.Join(dir, "c.jsonl")); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{Auto, Text} {
		o := realOptions(t, dir, "", 8)
		o.Format = format
		if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), "the file holds no document") {
			t.Errorf("none at all: %v", err)
		}
	}
}

// What is there compressed and not is read twice; a field that is named for data without it has no effect. Both are
// said.
func TestFolderSays(t *testing.T) {
	dir := t.TempDir()
	const line = "{\"text\":\"one\"}\n"
	for name, content := range map[string]string{"a.jsonl": line, "a.jsonl.gz": packed(t, ".gz", line)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		dir:                      "1 file is there under the same name uncompressed or otherwise compressed, and all are read: a.jsonl.gz",
		write(t, "a.txt", "one"): "a.txt: text files: --text-field body has no effect",
		write(t, "a.jsonl", `{"instruction":"q","output":"a"}`): "a.jsonl: alpaca examples: --text-field body has no effect",
		write(t, "b.jsonl", `{"body":"one"}`):                   "",
	} {
		var log bytes.Buffer
		o := realOptions(t, path, "", 0)
		o.Log = &log
		if path != dir {
			o.TextField, o.TextNamed = "body", true
		}
		if texts(t, o); !strings.Contains(log.String(), want) || want == "" && strings.Contains(log.String(), "no effect") {
			t.Errorf("%s:\n%s", path, log.String())
		}
	}
}

// The README beside examples is left out, and said to be.
func TestTextBesideExamples(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"README.md": "about", "d.json": `[{"instruction":"q","output":"a"}]`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	o := realOptions(t, dir, "", 0)
	o.Log = &log
	if got := texts(t, o); len(got) != 1 || !strings.Contains(log.String(), "left out, text that accompanies the data: README.md") {
		t.Errorf("%q\n%s", got, log.String())
	}
}
