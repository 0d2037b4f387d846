package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/cli"
)

// section is a titled part of a command's options.
type section struct {
	title string
	flags []*pflag.Flag
}

// sections are a command's options in groups. A group of one joins the first.
func sections(c *cobra.Command) (out []section) {
	c.InitDefaultHelpFlag()
	for _, title := range cli.Groups() {
		out = append(out, section{title: title})
	}
	out[0].title = "Options"
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		at := 0
		if o := cli.Find(c.Name(), f.Name); o != nil { // cobra has some of its own
			at = max(0, slices.IndexFunc(out, func(s section) bool { return s.title == o.Group }))
		}
		out[at].flags = append(out[at].flags, f)
	})
	for i := range out[1:] {
		if s := &out[i+1]; len(s.flags) == 1 {
			out[0].flags, s.flags = append(out[0].flags, s.flags...), nil
		}
	}
	return slices.DeleteFunc(out, func(s section) bool { return len(s.flags) == 0 })
}

// argument is how an option's value is written, "" for none.
func argument(command string, f *pflag.Flag) string {
	if o := cli.Find(command, f.Name); o != nil {
		return o.Argument()
	}
	return ""
}

// written is an option as it is given: --rank N. A bool that is on by default needs =.
func written(command string, f *pflag.Flag) string {
	a := argument(command, f)
	switch {
	case f.Name == "help":
		return "-h, --help"
	case a == "":
		return "--" + f.Name
	case f.Value.Type() == "bool":
		return "--" + f.Name + "=" + a
	}
	return "--" + f.Name + " " + a
}

// described is what an option means, and its default where it has one.
func described(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "0", "false", "[]":
		return f.Usage
	}
	return f.Usage + " (default " + strings.Trim(f.DefValue, "[]") + ")"
}
