package cli

import (
	"testing"

	"github.com/spf13/pflag"
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
