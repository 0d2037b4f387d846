package files

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a killed Commit left is believed of files in its own folder alone: nothing outside is ever taken back.
func FuzzMoving(f *testing.F) {
	for _, s := range []string{`["a.txt","b.txt"]`, `["../kept"]`, `["a.txt","sub/../../kept"]`, `["/"]`, `[]`, `{"a":1}`, `["."]`, `["",".."]`} {
		f.Add([]byte(s))
	}
	root := f.TempDir()
	out := filepath.Join(root, "out")
	part := filepath.Join(out, "."+partName)
	kept := []string{filepath.Join(root, "kept"), filepath.Join(out, "sub", "kept")}
	for _, d := range []string{part, filepath.Join(out, "sub")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			f.Fatal(err)
		}
	}
	for _, p := range kept {
		if err := os.WriteFile(p, []byte("kept"), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(part, movingName), b, 0o644); err != nil {
			t.Fatal(err)
		}
		names := moved(part)
		var listed []string
		_ = json.Unmarshal(b, &listed)
		for _, n := range names {
			if !slices.Contains(listed, n) || filepath.Dir(filepath.Join(out, n)) != out {
				t.Fatalf("%q of %q would be taken back", n, listed)
			}
		}
		s := &Stage{Dir: part, out: out, inside: true}
		_ = s.clear()
		for _, p := range kept {
			if _, err := os.Stat(p); err != nil {
				t.Fatalf("%q: %v", b, err)
			}
		}
		if _, err := os.Stat(part); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
	})
}
