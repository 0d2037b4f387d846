// Package cli is the command line: what options there are, where their values come from, and what they ask of the
// packages below. Each option is declared once, in the table (table.go). Flags, help, completion, docs/cli.md, what a
// run keeps of its options, and what going on with a run demands of them all follow from there. Load brings the options
// of a command to their values; Train, Eval and their like make plain structs of them, which nothing writes to again.
package cli

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
	"longlora/internal/train"
)

// Option declares an option of one command or several.
type Option struct {
	Name    string
	Of      string // the commands that take it, by space; "" is every command
	Group   string // its title in help; "" is the first group
	Kind    Kind
	Default string // "" where the option may be left out
	Usage   string
	Arg     string       // how its value is written, where neither kind nor values say it
	Values  []string     // the values that it takes, or each part of a list
	Open    bool         // it takes others than Values too
	Things  bool         // Values are names of things: one is never meant for another, however alike they are
	Check   Check        // of a value that is given
	Found   bool         // not given, the data or the model says what it is, which may be other than its default
	Prose   bool         // its value is text to be read, which may be empty
	Not     string       // an option that excludes it
	Resume  train.Demand // what going on with a run demands of it, and whether a run keeps it
	Also    string       // what other trainers call it, by space
}

// Kind is what an option's value is.
type Kind int

// The kinds.
const (
	Text    Kind = iota
	Texts        // may be given several times; each is one text
	Names        // a list by comma
	Whole        // an int
	Seed         // a uint64
	Real         // a float64
	Truth        // true or false
	Tokens       // a count of tokens, as 32768 or 32k
	Lengths      // several counts of tokens by comma
	Window       // a choice of windows
	Rate         // a float64, or auto
)

// Check says what is wrong with a value as it is written; "" for nothing.
type Check func(value string) string

// number is a check of a number.
func number(want string, ok func(x float64) bool) Check {
	return func(value string) string {
		if x, err := strconv.ParseFloat(value, 64); err != nil || !ok(x) {
			return "must be " + want
		}
		return ""
	}
}

// least is a check of a whole number.
func least(n float64) Check {
	return number(strconv.FormatFloat(n, 'f', -1, 64)+" or more", func(x float64) bool { return x >= n })
}

// within is a check of a number between two, which the text names.
func within(lo, hi float64, want string) Check {
	return number(want, func(x float64) bool { return x >= lo && x <= hi })
}

// below is a check of a number from 0 to below 1.
var below = number("from 0 to below 1", func(x float64) bool { return x >= 0 && x < 1 })

// finite is a check of a number from 0 on.
var finite = number("a finite number from 0 on", func(x float64) bool { return x >= 0 && !math.IsInf(x, 0) })

// rated is a check of a learning rate, which may be auto.
func rated(value string) string {
	if value == "auto" {
		return ""
	}
	return finite(value)
}

// positive is a check of a number above 0.
var positive = number("a positive number", func(x float64) bool { return x > 0 && !math.IsInf(x, 0) })

// named is a check of a text that names something.
func named(what string) Check {
	return func(value string) string {
		if strings.TrimSpace(value) == "" {
			return "an empty " + what
		}
		return ""
	}
}

// counted is a check of a number of things, which may be auto.
func counted(value string) string {
	if value == "auto" {
		return ""
	}
	if n, err := strconv.Atoi(value); err != nil || n < 0 {
		return "neither auto nor a whole number from 0 on"
	}
	return ""
}

// processes is a check of a count of processes.
func processes(value string) string {
	if n, err := strconv.Atoi(value); value != "all" && (err != nil || n < 1 || n > mostRanks) {
		return "not all, or a number from 1 to 1024"
	}
	return ""
}

// homeless is a check of a path: one in the home folder, as a shell writes it, would be in a folder called ~. Shells
// put the home folder in its place at the head of a word alone, so not in --out=~/run, nor in a file of options.
func homeless(value string) string {
	rest, ok := strings.CutPrefix(value, "~")
	if !ok || rest != "" && rest[0] != '/' {
		return ""
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "the home folder"
	}
	return fmt.Sprintf("no shell has put the home folder in the place of ~ here; give %s (a folder of that name "+
		"is ./%s)", errs.Quoted(home+rest), value)
}

// date is a check of a day.
func date(value string) string {
	if _, err := time.Parse(time.DateOnly, value); err != nil {
		return "not a date such as 2026-11-29"
	}
	return ""
}

// size is a check of a number of bytes.
func size(value string) string {
	if _, ok := parseBytes(value); !ok {
		return "not a size such as 24GiB, 512M or a number of bytes"
	}
	return ""
}

// takes reports whether a command takes an option.
func (o *Option) takes(command string) bool {
	return o.Of == "" || slices.Contains(strings.Fields(o.Of), command)
}

// Find is a command's option of a name; nil where it has none.
func Find(command, name string) *Option {
	for i := range table {
		if o := &table[i]; o.Name == name && o.takes(command) {
			return o
		}
	}
	return nil
}

// NamesOf are the options of a command.
func NamesOf(command string) (out []string) {
	for i := range table {
		if o := &table[i]; o.takes(command) {
			out = append(out, o.Name)
		}
	}
	return out
}

// Groups are the titles of groups in the order of help.
func Groups() (out []string) {
	for _, o := range table {
		if !slices.Contains(out, o.Group) {
			out = append(out, o.Group)
		}
	}
	return out
}

// Define defines a command's options as flags.
func Define(command string, f *pflag.FlagSet) {
	f.SortFlags = false
	for i := range table {
		if o := &table[i]; o.takes(command) && o.Name != "help" { // cobra's own
			o.define(f)
		}
	}
}

// define defines one, with its default, which is right or the program does not start.
func (o *Option) define(f *pflag.FlagSet) {
	switch o.Kind {
	case Text:
		f.String(o.Name, o.Default, o.Usage)
		return
	case Texts:
		f.StringArray(o.Name, nil, o.Usage)
	case Names:
		var list []string
		if o.Default != "" {
			list = strings.Split(o.Default, ",")
		}
		f.StringSlice(o.Name, list, o.Usage)
		return
	case Whole:
		f.Var(&numeral[int]{kind: "int", parse: parseWhole}, o.Name, o.Usage)
	case Seed:
		f.Var(&numeral[uint64]{kind: "uint64", parse: parseSeed}, o.Name, o.Usage)
	case Real:
		f.Var(new(float), o.Name, o.Usage)
	case Truth:
		f.Bool(o.Name, false, o.Usage)
	case Tokens:
		f.Var(&numeral[int]{kind: "tokens", parse: parseTokens}, o.Name, o.Usage)
	case Lengths:
		f.Var(&tokensList{list: new([]int)}, o.Name, o.Usage)
	case Window:
		f.Var(new(choice), o.Name, o.Usage)
	case Rate:
		f.Var(new(rate), o.Name, o.Usage)
	}
	if o.Default != "" {
		x := f.Lookup(o.Name)
		if err := x.Value.Set(o.Default); err != nil {
			panic(o.Name + ": " + err.Error())
		}
		x.DefValue = x.Value.String()
	}
}

// Argument is how an option's value is written, "" for none.
func (o *Option) Argument() string {
	switch all := strings.Join(o.Values, "|"); {
	case o.Arg != "":
		return o.Arg
	case len(o.Values) > 0 && !o.Open && len(all) <= 24:
		return all
	case len(o.Values) > 0 && !o.Open:
		return "NAME"
	}
	switch o.Kind {
	case Truth:
		if o.Default == "true" {
			return "true|false"
		}
		return ""
	case Whole, Seed, Tokens:
		return "N"
	case Lengths:
		return "N,…"
	case Real:
		return "X"
	case Rate:
		return "auto|X"
	}
	return "TEXT"
}

// isPath reports whether an option's value may be the path of a file or folder.
func (o *Option) isPath() bool {
	a := o.Argument()
	return strings.Contains(a, "DIR") || strings.Contains(a, "FILE") || strings.Contains(a, "PATH")
}

// List reports whether an option's values are parts by comma.
func (o *Option) List() bool { return o.Kind == Names || o.Kind == Lengths }

// unset reports whether an option's default stands for "not given": below, such an option is a pointer, or says of a
// value that it is none, or goes by what is found.
func (o *Option) unset() bool { return o.Found || o.Default == "" && o.Kind != Text && o.Kind != Truth }

// Commands are the names of the commands that the table knows.
func Commands() (out []string) {
	for _, o := range table {
		for _, c := range strings.Fields(o.Of) {
			if !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}
