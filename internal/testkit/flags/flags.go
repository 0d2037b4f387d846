// Package flags reads a command's options for tests, as the command line does.
package flags

import (
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/config"
)

// Parse gives the options c the values of a command line of the command with this name; c's Finish takes the result.
func Parse(t testing.TB, name string, c interface{ Flags(fs *pflag.FlagSet) }, args []string) *config.Values {
	t.Helper()
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	c.Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	known := config.Known{}
	fs.VisitAll(known.Add)
	v, err := config.Load(fs, known)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
