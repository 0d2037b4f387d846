package cli

import (
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/testkit"
)

// No key of a command is ignored: each that a file may have takes effect.
func TestEveryKeyIsRead(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, command := range Commands() {
		for _, name := range NamesOf(command) {
			fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
			Define(command, fs)
			f := fs.Lookup(name)
			if f == nil || name == "config" { // help is cobra's, and a file names no other
				continue
			}
			text := f.DefValue
			if text == "" || text == "[]" {
				text = "1"
			}
			testkit.Write(t, DefaultFile, name+": "+text+"\n")
			if v, err := Load(fs); err == nil && !v.InFile(name) {
				t.Errorf("%s: %s of a file has no effect", command, name)
			}
		}
	}
}

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
