// Package testkit is what the tests of several packages share: files, reference cases and comparisons. It imports no
// other package of the program, so that each can test itself with it; what needs some is in folders of its own.
package testkit

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Write writes a file, making its folders, and returns its path.
func Write[T ~string | ~[]byte](t testing.TB, path string, contents T) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// Temp writes a file of this name in a new folder and returns its path.
func Temp[T ~string | ~[]byte](t testing.TB, name string, contents T) string {
	t.Helper()
	return Write(t, filepath.Join(t.TempDir(), name), contents)
}

// Link makes a symbolic link, and the folders above it.
func Link(t testing.TB, to, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// Read gives a file's contents.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ReadJSON reads a file of JSON into what v points to.
func ReadJSON(t testing.TB, path string, v any) {
	t.Helper()
	if err := json.Unmarshal(Read(t, path), v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Each says which of several conditions do not hold of what was seen.
func Each(t testing.TB, seen any, conditions map[string]bool) {
	t.Helper()
	var bad []string
	for name, ok := range conditions {
		if !ok {
			bad = append(bad, name)
		}
	}
	if slices.Sort(bad); len(bad) > 0 {
		t.Errorf("wrong: %s; %+v", strings.Join(bad, ", "), seen)
	}
}

// Relative is ‖got-want‖/‖want‖; infinite for other lengths, for a NaN, and where zeros
// alone are wanted and others are there.
func Relative(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	d, n := 0.0, 0.0
	for i := range want {
		e := float64(got[i]) - float64(want[i])
		d += e * e
		n += float64(want[i]) * float64(want[i])
	}
	switch {
	case d == 0:
		return 0
	case d != d: // so that no comparison lets it pass
		return math.Inf(1)
	}
	return math.Sqrt(d / n)
}
