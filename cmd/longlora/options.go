package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/config"
)

// titles are the groups in which help, manual and docs show many options. What stands in none comes first.
var titles = []struct{ title, flags string }{
	{"Documents and rows", "format template text-field skip-bad train-on-prompt pack overlong"},
	{"Attention", "attn shift group group-size sliding-window"},
	{"Positions", "rope rope-factor base-ctx"},
	{"What is trained", "tune init rank alpha dropout targets train-embed train-norm"},
	{"Optimizer", "lr schedule warmup-steps max-grad-norm weight-decay beta1 beta2 eps"},
	{"Steps and order", "steps epochs batch accum shuffle seed"},
	{"Validation", "eval-data eval-fraction eval-every eval-attn"},
	{"Checkpoints", "save-every keep resume replan dry-run"},
	{"Device and memory", "device dtype device-mem host-mem tile keep-activations move-layers threads"},
	{"Every command", "config json help"},
}

// section is a titled part of a command's options.
type section struct {
	title string
	flags []*pflag.Flag
}

// sections are a command's options in groups. A group of one joins the first.
func sections(c *cobra.Command) []section {
	c.InitDefaultHelpFlag()
	out := make([]section, 1+len(titles))
	out[0].title = "Options"
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		at := 1 + slices.IndexFunc(titles, func(t struct{ title, flags string }) bool {
			return slices.Contains(strings.Fields(t.flags), f.Name)
		})
		out[at].flags = append(out[at].flags, f)
	})
	for i, t := range titles {
		if s := &out[i+1]; len(s.flags) < 2 {
			out[0].flags = append(out[0].flags, s.flags...)
			s.flags = nil
		} else {
			s.title = t.title
			order := strings.Fields(t.flags)
			slices.SortFunc(s.flags, func(a, b *pflag.Flag) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
		}
	}
	return slices.DeleteFunc(out, func(s section) bool { return len(s.flags) == 0 })
}

// arguments are how the values of options are written where their type does not say it.
var arguments = map[string]string{
	"model": "DIR|NAME", "adapter": "DIR", "out": "DIR", "data": "PATH", "eval-data": "PATH",
	"config": "FILE", "prompt-file": "FILE", "passkey-template": "FILE", "haystack": "FILE", "report": "FILE",
	"template": "NAME|FILE", "resume": "auto|never|DIR", "device-mem": "SIZE", "host-mem": "SIZE", "max-shard-size": "SIZE", "group": "X",
	"sliding-window": "keep|off|N", "targets": "NAME,…", "task": "NAME,…", "eval-attn": "NAME,…", "device": "NAME", "text-field": "NAME",
	"prepare out": "FILE", "report out": "FILE",
}

// argument is how an option's value is written, "" for none.
func argument(command string, f *pflag.Flag) string {
	for _, key := range []string{command + " " + f.Name, f.Name} {
		if a, ok := arguments[key]; ok {
			return a
		}
	}
	values, fixed := config.Choices(f)
	switch all := strings.Join(values, "|"); {
	case fixed && len(all) <= 24:
		return all
	case fixed:
		return "NAME"
	}
	switch f.Value.Type() {
	case "bool":
		if f.DefValue == "true" {
			return "true|false"
		}
		return ""
	case "int", "uint64", "tokens":
		return "N"
	case "tokensList":
		return "N,…"
	case "float64":
		return "X"
	}
	return "TEXT"
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
