package cli

import "testing"

// No file of options does more than be refused.
func FuzzFile(f *testing.F) {
	for _, s := range []string{"model: m\ndata: [d]\n", "a: &a [*a]\n", "rank: [[1]]\n", "? {a: b}\n: c\n", "rank: !!binary x\n", "--- 1\n--- 2\n", "rank: !!int x\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseFile(b); err != nil && len(err.Error()) > 4096 {
			t.Errorf("a message of %d bytes", len(err.Error()))
		}
	})
}
