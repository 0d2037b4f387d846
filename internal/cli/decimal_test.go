package cli

import (
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/testkit"
)

// Whole numbers are decimals: a 0 before them makes no octal of them, and no other base is read.
func TestNumbersAreDecimal(t *testing.T) {
	for _, o := range []*Option{{Name: "n", Kind: Whole, Default: "1"}, {Name: "n", Kind: Seed, Default: "1"}, {Name: "n", Kind: Tokens, Default: "1"}} {
		for given, want := range map[string]string{"01024": "1024", "010": "10", "0": "0", "0x10": "", "0b1": "", "1_000": "1000", "": ""} {
			f := pflag.NewFlagSet("", pflag.ContinueOnError)
			o.define(f)
			err := f.Set("n", given)
			switch got := f.Lookup("n").Value.String(); {
			case want == "" && err == nil:
				t.Errorf("kind %v: %q is read as %s", o.Kind, given, got)
			case want != "" && (err != nil || got != want):
				t.Errorf("kind %v: %q is read as %s (%v), want %s", o.Kind, given, got, err, want)
			}
		}
	}
}

// Nor does it in a file of options, where YAML 1.1 would have it; what names its base there has it.
func TestFilesNumbersAreDecimal(t *testing.T) {
	t.Chdir(t.TempDir())
	for given, want := range map[string]string{"010": "10", "0100_0": "1000", "+8": "8", "8.0": "8", "0x10": "16", "1e1": "10", "08": "8"} {
		testkit.Write(t, DefaultFile, "rank: "+given+"\n")
		fs := pflag.NewFlagSet("train", pflag.ContinueOnError)
		Define("train", fs)
		if _, err := Load(fs); err != nil || fs.Lookup("rank").Value.String() != want {
			t.Errorf("%q is read as %s (%v), want %s", given, fs.Lookup("rank").Value, err, want)
		}
	}
}
