package cli

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
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

// What a float64 cannot hold is refused by every option that is a number, whoever gives it: it would be 0, which means
// something else (no clipping, say), or infinite.
func TestNumbersAreHeld(t *testing.T) {
	t.Chdir(t.TempDir())
	load := func(command, file string) error {
		testkit.Write(t, DefaultFile, file)
		fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
		Define(command, fs)
		_, err := Load(fs)
		return err
	}
	refused := func(err error, where string) {
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), where+": ") {
			t.Errorf("%s is no number that is held, and the error is %v", where, err)
		}
	}
	for i := range table {
		o := &table[i]
		if !slices.Contains([]Kind{Whole, Seed, Real, Tokens, Lengths, Window, Rate}, o.Kind) {
			continue
		}
		command := strings.Fields(o.Of + " train")[0]
		for _, text := range []string{"1e-400", "[1e-400]", "1e400"} {
			refused(load(command, o.Name+": "+text+"\n"), DefaultFile+": "+o.Name)
		}
		variable := envName(o.Name)
		t.Setenv(variable, "-1e-400")
		refused(load(command, ""), variable)
		os.Unsetenv(variable)
	}
}

// The least number above 0, and 0 in every spelling, are held.
func TestParseReal(t *testing.T) {
	for text, want := range map[string]float64{"5e-324": 5e-324, "0": 0, "-0.00": 0, "0e9": 0, "0x0p9": 0, ".0": 0, "1e308": 1e308} {
		if got, err := parseReal(text); err != nil || got != want {
			t.Errorf("%s is read as %v (%v)", text, got, err)
		}
	}
	for text, want := range map[string]error{"1e-400": errTiny, "-.1E-400": errTiny, "0xep-2000": errTiny, "1e400": strconv.ErrRange, "": strconv.ErrSyntax} {
		if got, err := parseReal(text); !errors.Is(err, want) {
			t.Errorf("%q is read as %v (%v), want %v", text, got, err, want)
		}
	}
}
