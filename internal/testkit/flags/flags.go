// Package flags reads a command's options for tests, as the command line does.
package flags

import (
	"testing"

	"github.com/spf13/pflag"

	"longlora/internal/cli"
)

// Parse gives the options of a command the values of a command line.
func Parse(t testing.TB, command string, args []string) *cli.Values {
	t.Helper()
	fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
	cli.Define(command, fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	v, err := cli.Load(fs)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
