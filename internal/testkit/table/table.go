// Package table holds tests to text files: what arithmetic gives is written down as a table that a reader can check,
// and a test compares. With -rewrite, after the name of the package, the files are written again; a change of them is
// to be read.
//
//	go test ./internal/model -run Spans -rewrite
package table

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the tables in testdata again")

// Hold compares a text with the file testdata/NAME.
func Hold(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, have := strings.Split(string(b), "\n"), strings.Split(got, "\n")
	for i := range max(len(want), len(have)) {
		line := func(lines []string) string {
			if i < len(lines) {
				return lines[i]
			}
			return "(the end)"
		}
		if w, h := line(want), line(have); w != h {
			t.Fatalf("%s, line %d:\n  is    %s\n  want  %s\nIf that is meant, run the test with -rewrite and read what changes.",
				path, i+1, h, w)
		}
	}
}
