package data

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// A path where nothing is, but that another program would make something of, says what to do instead.
func TestAbsentData(t *testing.T) {
	dir := t.TempDir()
	o := realOptions(t, "", "", 8)
	t.Chdir(dir)
	at := func(path string) Options {
		o.Paths = []string{path}
		return o
	}
	for _, n := range []string{"a.txt", "b.txt", "c d.txt"} {
		testkit.Write(t, filepath.Join(dir, n), "x")
	}
	for path, want := range map[string]string{
		"-":                       "write it into a file first",
		"https://a.org/b.txt?c=1": "download it first with: curl -LO 'https://a.org/b.txt?c=1'",
		"?.txt":                   "(a.txt, b.txt), or their folder",
		"a.txt,b.txt":             "(a.txt, b.txt), or their folder",
		"org/name":                "hf download --repo-type dataset org/name --local-dir name",
		"org/name:0.5":            "--repo-type dataset org/name --local-dir name",
		"nowhere.txt":             "no such file or directory",
		"nowhere":                 "no such file or directory",
		"a.txt,nowhere.txt":       "no such file or directory",
	} {
		_, err := Open(t.Context(), at(path))
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, which does not say %q", path, err, want)
		}
	}
	if err := os.Mkdir("data", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), at("data/none")); err == nil || strings.Contains(err.Error(), "hf download") {
		t.Errorf("a file that is not in a folder: %v", err)
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
