// Package lint holds the rules of the tree that the compiler does not know.
package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// layers orders the packages; imports point downward, and within a layer only as listed in beside.
var layers = map[string]int{
	"cmd/longlora": 7, "internal/cli": 6, // the top floor: options end here
	"internal/report": 6,
	"internal/extend": 5, "internal/train": 4, "internal/eval": 4, "internal/bench": 4, "internal/doctor": 4, "internal/export": 4, "internal/plan": 3, "internal/load": 3,
	"internal/model": 2, "internal/lora": 2, "internal/ckpt": 2, "internal/data": 2, "internal/machine": 2, "internal/dist": 2,
	"internal/data/arrow": 2, "internal/data/csv": 2, "internal/data/datafile": 2, "internal/data/example": 2, "internal/data/folder": 2,
	"internal/data/jinja": 2, "internal/data/jsonfile": 2, "internal/data/parquet": 2, "internal/data/plaintext": 2, "internal/data/record": 2,
	"internal/data/store": 2, "internal/data/template": 2,
	"internal/ops": 1, "internal/ops/cpu": 1, "internal/ops/cuda": 1, "internal/ops/optest": 1, "internal/tokenizer": 1, "internal/tokenizer/onig": 0, "internal/ui": 1,
	"internal/tensor": 0, "internal/quant": 0, "internal/s2attn": 0, "internal/rope": 0, "internal/errs": 0, "internal/par": 0, "internal/proc": 0, "internal/files": 0, "internal/hub": 0, "internal/rundir": 0, "csrc": 0, "csrc/cpu": 0,
	"internal/testkit": 0, "internal/testkit/table": 0, "internal/testkit/flags": 7, "internal/testkit/backend": 2, "internal/testkit/perf": 2, "internal/testkit/documents": 3,
	"internal/lint": 0, "scripts/demotext": 0, "scripts/benchproducts": 7, "scripts/benchdecode": 7,
}

// beside are the imports allowed within a layer.
var beside = map[string]string{
	"internal/lora": "internal/model internal/ckpt",
	"internal/ckpt": "internal/model", // asks the table of families which fields of config.json mean what
	"internal/data": "internal/data/arrow internal/data/csv internal/data/datafile internal/data/example internal/data/folder internal/data/jsonfile internal/data/parquet " +
		"internal/data/plaintext internal/data/record internal/data/store internal/data/template", // who reads or writes a form knows nothing of documents and rows
	"internal/data/template": "internal/data/example internal/data/jinja internal/data/record",      // writes what example reads
	"internal/data/example":  "internal/data/jsonfile internal/data/record",                         // lists and calls may be JSON in a text
	"internal/data/folder":   "internal/data/datafile",                                              // a name says what a file is
	"internal/data/store":    "internal/data/datafile",                                              // temporary files, and the names of what lies beside a token file
	"internal/data/arrow":    "internal/data/datafile internal/data/plaintext internal/data/record", // replaced text is counted
	"internal/data/parquet":  "internal/data/datafile internal/data/plaintext internal/data/record",
	"internal/data/csv":      "internal/data/record",    // any reader of UTF-8 will do
	"internal/data/datafile": "internal/data/plaintext", // a file's text is UTF-8 when its reader gets it
	"internal/data/jsonfile": "internal/data/record",    // what a record is does not depend on its file
	"internal/plan":          "internal/load",           // a plan may be of a checkpoint, by its config.json alone
	"internal/bench":         "internal/train",          // measures the steps of training themselves
	"internal/ops/cpu":       "internal/ops",
	"internal/ops/cuda":      "internal/ops internal/errs",
	"internal/ops/optest":    "internal/ops",
	"internal/s2attn":        "internal/errs",
	"internal/files":         "internal/errs internal/par",
	"internal/hub":           "internal/errs internal/files",
	"internal/rundir":        "internal/errs internal/files internal/hub internal/rope internal/s2attn",
	"internal/proc":          "internal/errs internal/files internal/par",
	"internal/rope":          "internal/errs",
	"internal/quant":         "internal/tensor internal/par",
	"csrc/cpu":               "internal/tensor internal/quant",
}

// only says who may import what stands outside the module's own layers.
var only = map[string]string{
	"github.com/spf13/cobra":                  "cmd/longlora",
	"github.com/spf13/viper":                  "internal/cli",
	"github.com/spf13/pflag":                  "cmd/longlora internal/cli internal/testkit/flags",
	"C":                                       "csrc csrc/cpu internal/proc internal/ops/cuda scripts/benchproducts scripts/benchdecode",
	"gorgonia.org/cu":                         "internal/ops/cuda",
	"github.com/parquet-go/parquet-go":        "internal/data/parquet internal/data", // internal/data writes files for its tests
	"github.com/nikolalohinski/gonja/v2":      "internal/data/jinja",                 // it does not bound what a template takes: only a process of its own does
	"github.com/nikolalohinski/gonja/v2/exec": "internal/data/jinja",
	"github.com/pierrec/lz4/v4":               "internal/data/arrow", // of all formats only Arrow's has it
}

func TestImportsPointDownward(t *testing.T) {
	walk(t, func(dir, path string, test bool) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		layer, known := layers[dir]
		if !known {
			t.Errorf("%s: package %s has no layer; give it one in this test", path, dir)
		}
		for _, im := range f.Imports {
			name, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if who, ok := only[name]; ok && !strings.Contains(" "+who+" ", " "+dir+" ") {
				t.Errorf("%s imports %s, which only %s may", path, name, who)
			}
			dep, own := strings.CutPrefix(name, "longlora/")
			if !own || test {
				continue
			}
			if strings.HasPrefix(dep, "internal/testkit") {
				t.Errorf("%s imports %s, which is for tests alone", path, dep)
			}
			if (dep == "internal/ops/cpu" || dep == "internal/ops/cuda") && dir != "cmd/longlora" && dir != "scripts/benchproducts" && dir != "internal/testkit/backend" {
				t.Errorf("%s chooses a backend; only cmd/longlora does", path)
			}
			if l := layers[dep]; l > layer || l == layer && !strings.Contains(" "+beside[dir]+" ", " "+dep+" ") {
				t.Errorf("%s (layer %d) imports %s (layer %d): imports point downward", path, layer, dep, l)
			}
		}
	})
}

// What ships names no path of a developer's machine.
func TestNoMachinePaths(t *testing.T) {
	walk(t, func(_, path string, _ bool) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []string{"/" + "work/", ".." + "/shared"} {
			if strings.Contains(string(b), bad) {
				t.Errorf("%s mentions %s", path, bad)
			}
		}
	})
}

// walk calls f with every Go file of the module.
func walk(t *testing.T, f func(dir, path string, test bool)) {
	t.Helper()
	root := "../.."
	n := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(p) == ".go" {
			rel, err := filepath.Rel(root, filepath.Dir(p))
			if err != nil {
				return err
			}
			n++
			f(filepath.ToSlash(rel), p, strings.HasSuffix(p, "_test.go"))
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Fatalf("%d files seen, %v", n, err)
	}
}

// What the program is built on is settled, and stays in go.mod: https://pkg.go.dev has each.
func TestLibraries(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct, _, _ := strings.Cut(string(mod), "// indirect")
	for _, path := range []string{"github.com/spf13/cobra", "github.com/spf13/viper", "github.com/schollz/progressbar/v3",
		"gorgonia.org/cu", "github.com/klauspost/compress"} {
		if !strings.Contains(direct, "\t"+path+" v") {
			t.Errorf("go.mod does not require %s", path)
		}
	}
}
