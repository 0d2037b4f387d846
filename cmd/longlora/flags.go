package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/cli"
	"longlora/internal/errs"
)

// flagError says what is wrong with a flag, and which one may be meant.
func flagError(c *cobra.Command, err error) error {
	s := err.Error()
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return errs.Usagef("%s: --%s %s: %s", c.Name(), invalid.GetFlag().Name, invalid.GetValue(),
			cli.Unfit(invalid.GetFlag(), errors.Unwrap(err)))
	}
	if c.Flags().Lookup("config") == nil && c.HasParent() { // one of cobra's own, without our options
		return errs.Usagef("%s: %s", c.Name(), s)
	}
	if name, ok := strings.CutPrefix(s, "unknown flag: --"); ok {
		if !c.HasParent() {
			return errs.Usagef("%s; options follow a command, as longlora plan --ctx 16384; longlora --help "+
				"lists commands", s)
		}
		s += cli.Suggest(c.Name(), name)
		// as Go and PyTorch programs take them: -ctx
	} else if _, name, ok := strings.Cut(s, "unknown shorthand flag: "); ok {
		_, name, _ = strings.Cut(name, " in -")
		s += cli.Suggest(c.Name(), name)
	}
	return errs.Usagef("%s: %s", c.Name(), s)
}

// optionsAlone refuses words that belong to no option, as what a shell makes of a value with spaces, or of a truth
// value that does not follow its option by =.
func optionsAlone(c *cobra.Command, words []string) error {
	if len(words) == 0 {
		return nil
	}
	word, mend := words[0], "each value follows its option, in quotes where it has spaces"
	if _, err := os.Stat(word); err == nil && c.Flags().Lookup("data") != nil {
		mend = "several files of data are given as their folder" // not by a shell's pattern
	}
	if name, _, _ := strings.Cut(word, "="); cli.Find(c.Name(), name) != nil {
		mend = "did you mean --" + word + "?"
	}
	if _, err := strconv.ParseBool(word); err == nil {
		mend = "a truth value follows its option behind =, as in --json=true"
		c.Flags().Visit(func(f *pflag.Flag) {
			if o := cli.Find(c.Name(), f.Name); o != nil && o.Kind == cli.Truth {
				mend = fmt.Sprintf("did you mean --%s=%s?", f.Name, word)
			}
		})
	}
	return errs.Usagef("%s: %q belongs to no option: %s", c.Name(), word, mend)
}

// sayRepeated notes flags that are given more than once with other values each, of which the last one counts.
func sayRepeated(w io.Writer, c *cobra.Command, args []string) {
	flags, given := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError), map[string]string{}
	cli.Define(c.Name(), flags)
	// Whether they are right is found elsewhere.
	_ = flags.ParseAll(args, func(f *pflag.Flag, value string) error {
		before, twice := given[f.Name]
		if given[f.Name] = value; f.Value.Set(value) != nil {
			return nil
		}
		if _, isList := f.Value.(pflag.SliceValue); twice && !isList && before != value {
			fmt.Fprintf(w, "note: --%s %s is left out: --%s %s is given after it\n", f.Name, before, f.Name, value)
		}
		return nil
	})
}
