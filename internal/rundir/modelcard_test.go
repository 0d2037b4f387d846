package rundir

import (
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/files"
	"longlora/internal/testkit"
)

// A card is written, written again where it is as it was written, and left where it was changed or is someone else's.
func TestCardIsNeverTakenFromItsUser(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, CardFile)
	c := Card{Base: "org/base", Library: "peft", Tags: []string{"lora"}, Name: "run", Is: "An adapter.", Command: "longlora train",
		Data: []files.Fingerprint{{Name: "a.txt", Size: 3, SHA256: "ab"}}, Options: map[string]string{"rank": "8"}, Results: []string{"| 1 | 2.5 |"}}
	write := func(want bool) string {
		t.Helper()
		if got, err := WriteCard(dir, c); err != nil || got != want {
			t.Fatalf("written %v, %v", got, err)
		}
		return string(testkit.Read(t, path))
	}
	first := write(true)
	for _, part := range []string{"---\nbase_model: org/base\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n# license:", "\n---\n\n# run\n",
		"| `a.txt` | 3 | `ab` |", "rank: 8", "| 1 | 2.5 |", "longlora train"} {
		if !strings.Contains(first, part) {
			t.Errorf("no %q in %s", part, first)
		}
	}
	c.Name = "again"
	if second := write(true); !strings.Contains(second, "# again") {
		t.Error("it is not written again")
	}
	edited := strings.Replace(string(testkit.Read(t, path)), "# license: yours", "license: mit # yours", 1)
	for _, theirs := range []string{edited, "# mine\n", "", edited + "more"} {
		testkit.Write(t, path, theirs)
		if got := write(false); got != theirs {
			t.Errorf("%q became %q", theirs, got)
		}
	}
	c.Base = dir // a folder is named by its last part alone, and is no model on the Hub
	testkit.Write(t, filepath.Join(dir, "x"), "")
	other := t.TempDir()
	if _, err := WriteCard(other, c); err != nil {
		t.Fatal(err)
	}
	if b := string(testkit.Read(t, filepath.Join(other, CardFile))); strings.Contains(b, "base_model") || strings.Contains(b, dir) {
		t.Errorf("it names a folder of this machine: %s", b)
	}
}
