package testkit

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The reference cases are those that scripts/golden/make.py wrote: each file has its hash in SHA256SUMS, each hash its file.
func TestReferenceCasesAreWhole(t *testing.T) {
	dir := filepath.Join(Root(t), "testdata", "golden")
	want := map[string]string{}
	for line := range strings.Lines(string(Read(t, filepath.Join(dir, "SHA256SUMS")))) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			t.Fatalf("SHA256SUMS: %q", line)
		}
		want[name] = sum
	}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "SHA256SUMS" || name == "README.md" {
			return err
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(Read(t, filepath.Join(dir, name)))); sum != want[name] {
			t.Errorf("%s has the hash %s, SHA256SUMS says %q", name, sum, want[name])
		}
		delete(want, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}
