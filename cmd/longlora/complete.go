package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/hub"
)

// completeFlags lets the shell complete the values of all commands' options. cobra holds what it is told here for good,
// and the commands by it, so it is told only where a shell asks.
func completeFlags(root *cobra.Command) {
	for _, c := range root.Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			_ = c.RegisterFlagCompletionFunc(f.Name, func(_ *cobra.Command, _ []string, typed string) ([]string,
				cobra.ShellCompDirective) {
				return completions(cli.Find(c.Name(), f.Name), typed)
			})
		})
	}
}

// refuseShells has cobra's completion command refuse shells that it knows nothing of: by itself it shows its help for
// any word, and a script's empty file would pass for a completion. The scripts go to what is root's output now.
func refuseShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	c, _, _ := root.Find([]string{"completion"})
	var shells []string
	for _, s := range c.Commands() {
		shells = append(shells, s.Name())
	}
	c.Use = "completion " + strings.Join(shells, "|")
	c.Short = "Print the completion script of a shell"
	c.Long = c.Short + ". Each one's help says how it is loaded: longlora completion bash --help."
	c.Args, c.RunE = nil, func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return errs.Usagef("completion: there is none for %q; there is for %s", args[0], strings.Join(shells, ", "))
		}
		return c.Help()
	}
}

// completions are the values of an option that begin with what was typed: the known ones, parts of a list each; names
// and folders of models; else what kind of path the shell looks for.
func completions(o *cli.Option, typed string) ([]string, cobra.ShellCompDirective) {
	if o == nil { // cobra's own
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	values, argument, before := o.Values, o.Argument(), ""
	if o.List() && len(values) > 0 {
		before = typed[:strings.LastIndex(typed, ",")+1]
	}
	switch {
	case o.Kind == cli.Truth:
		values = []string{"true", "false"}
	case o.Name == "model":
		values = hub.Models()
	}
	out := begins(values, before, typed)
	switch {
	case len(out) > 0 && o.Name == "model":
		return append(out, folders(typed)...), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
	case len(out) > 0:
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	case strings.Contains(argument, "DIR"):
		return nil, cobra.ShellCompDirectiveFilterDirs
	case o.Name == "config":
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	case strings.Contains(argument, "FILE") || strings.Contains(argument, "PATH"):
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// begins are the values that go on after before, where a list's other parts stand, as was typed.
func begins(values []string, before, typed string) (out []string) {
	for _, v := range values {
		if strings.HasPrefix(before+v, typed) && !slices.Contains(strings.Split(before, ","), v) {
			out = append(out, before+v)
		}
	}
	return out
}

// folders are the folders whose paths begin with what was typed.
func folders(typed string) (out []string) {
	dir, begun := filepath.Split(typed)
	entries, _ := os.ReadDir(cmp.Or(dir, "."))
	for _, e := range entries {
		if info, err := os.Stat(dir + e.Name()); err == nil && info.IsDir() && strings.HasPrefix(e.Name(), begun) &&
			!strings.HasPrefix(e.Name(), ".") {
			out = append(out, dir+e.Name()+"/")
		}
	}
	return out
}
