package lint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// Kernels are read side by side with what they compute: files of at most 500 lines, lines of at most 120 columns.
func TestKernelsAreReadable(t *testing.T) {
	const lines, columns = 500, 120
	n := 0
	for _, pattern := range []string{"*.h", "cpu/*.[ch]", "cuda/*.[ch]*", "cuda/*/*.[ch]*"} {
		paths, err := filepath.Glob(filepath.Join("../../csrc", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			n++
			all := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			if len(all) > lines {
				t.Errorf("%s has %d lines, at most %d", path, len(all), lines)
			}
			for i, line := range all {
				if w := utf8.RuneCountInString(line); w > columns {
					t.Errorf("%s:%d has %d columns, at most %d", path, i+1, w, columns)
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("%d files seen", n)
	}
}
