package data

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

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

// A link that leads nowhere is a fault, not passed over.
func TestLinkToNowhere(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "x.jsonl")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), realOptions(t, dir, "", 8)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "x.jsonl") {
		t.Error(err)
	}
}

// A field that is named for data without it has no effect, which is said.
func TestIdleField(t *testing.T) {
	for path, want := range map[string]string{
		write(t, "a.txt", "one"):                                "a.txt: text files: --text-field body has no effect",
		write(t, "a.jsonl", `{"instruction":"q","output":"a"}`): "a.jsonl: alpaca examples: --text-field body has no effect",
		write(t, "b.jsonl", `{"body":"one"}`):                   "",
	} {
		var log bytes.Buffer
		o := realOptions(t, path, "", 0)
		o.Log = &log
		o.TextField, o.TextNamed = "body", true
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

func TestWeights(t *testing.T) {
	for _, c := range []struct {
		arg, path string
		weight    float64
		bad       string
	}{
		{"a:0.3", "a", 0.3, ""},
		{"a:2", "a", 2, ""},
		{"a", "a", 0, ""},
		{"a:b", "a:b", 0, ""},
		{"a:0", "", 0, "the weight 0 must be above 0"},
		{"a:-1", "", 0, "the weight -1 must be above 0"},
		{"a:1e400", "", 0, "the weight 1e400 must be above 0 and at most 1000000"},
		{"a:1e-400", "", 0, "the weight 1e-400 must be above 0"},
		{"a:nan", "", 0, "the weight nan must"},
	} {
		path, w, err := splitWeight(c.arg)
		if c.bad != "" {
			if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: %v, which does not say %q", c.arg, err, c.bad)
			}
		} else if err != nil || path != c.path || w != c.weight {
			t.Errorf("%s: %q %v %v", c.arg, path, w, err)
		}
	}
}

// A file that is read for two sources is said to be, by whatever names; copies of it are two files.
func TestReadTwice(t *testing.T) {
	dir, o := t.TempDir(), realOptions(t, "", "pad", 8)
	t.Chdir(dir)
	for _, name := range []string{"d/a.txt", "d/b.txt", "copy/a.txt"} {
		testkit.Write(t, name, "one")
	}
	if err := os.Symlink("d", "link"); err != nil {
		t.Fatal(err)
	}
	for paths, want := range map[string]string{
		"d/a.txt d/b.txt":     "",
		"d copy":              "",
		"copy/a.txt d":        "",
		"d/a.txt d/a.txt":     "--data d/a.txt: d/a.txt is read for --data d/a.txt too, and counts twice; leave one out",
		"d/b.txt copy d":      "--data d: d/b.txt is read for --data d/b.txt too",
		"d d/":                "--data d/: d/a.txt is read for --data d too",
		"link d/b.txt":        "--data d/b.txt: d/b.txt is read for --data link too",
		"d " + dir + "/./d:2": "/./d: ",
	} {
		var log bytes.Buffer
		o.Paths, o.Log = strings.Fields(paths), &log
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got := log.String(); !strings.Contains(got, want) || (want == "") == strings.Contains(got, "counts twice") {
			t.Errorf("%s: %q, want %q", paths, got, want)
		}
	}
}
