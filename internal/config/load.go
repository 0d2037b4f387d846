// Package config reads a command's options: flags win over environment variables over the YAML file over
// defaults. What is unknown, contradictory or out of range is an error that names where it stands.
package config

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"longlora/internal/errs"
	"longlora/internal/rundir"
)

// Source is where an option's value comes from, the weakest first.
type Source int

// The sources.
const (
	Default Source = iota
	File
	Env
	Flag
)

// DefaultFile is read when it stands in the working directory and no other is named.
const DefaultFile = rundir.ConfigFile

// Values are a command's options with their sources; the values themselves stand in the flag set.
type Values struct {
	fs     *pflag.FlagSet
	source map[string]Source
	file   string
	notes  []string
}

// Known are the options of all commands by name: a file may be shared between commands.
type Known map[string][]*pflag.Flag

// Add makes a command's options known.
func (k Known) Add(f *pflag.Flag) { k[f.Name] = append(k[f.Name], f) }

// envName is the variable of an option: LONGLORA_MAX_GRAD_NORM.
func envName(flag string) string {
	return "LONGLORA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Load brings every option of fs to its effective value.
func Load(flags *pflag.FlagSet, known Known) (*Values, error) {
	if n, err := strconv.Atoi(os.Getenv("WORLD_SIZE")); err == nil && n > 1 {
		return nil, errs.Usagef("WORLD_SIZE is %d: more than one process in a group is not supported; run one process", n)
	}
	v := &Values{fs: flags, source: map[string]Source{}}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			v.source[f.Name] = Flag
		}
	})
	if err := v.set("config", Env, envLookup); err != nil {
		return nil, err
	}
	file, err := v.read(known)
	if err != nil {
		return nil, err
	}
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first == nil && f.Name != "help" && f.Name != "config" {
			first = v.set(f.Name, Env, envLookup)
		}
		if g, ok := file[f.Name]; ok && first == nil && v.source[f.Name] == Default && f.Name != "config" {
			first = v.fromFile(f, g, known[f.Name])
		} else if first == nil {
			first = checkChoices(f, v.where(f.Name))
		}
	})
	v.sayFile()
	return v, first
}

// sayFile notes what a file that only lies in the working folder has set: nobody may have meant it.
func (v *Values) sayFile() {
	if v.file == "" || v.source["config"] > Default {
		return
	}
	var set []string
	v.fs.VisitAll(func(f *pflag.Flag) {
		if v.source[f.Name] == File {
			set = append(set, f.Name)
		}
	})
	if len(set) > 0 {
		v.notes = append(v.notes, fmt.Sprintf("%s of this folder sets %s", v.file, strings.Join(set, ", ")))
	}
}

// where is how a message names an option by what gave it.
func (v *Values) where(name string) string {
	switch v.source[name] {
	case Env:
		return envName(name)
	case File:
		return v.file + ": " + name + ":"
	}
	return "--" + name
}

// fromFile gives an option the file's value. One that this command does not take but another one does, as a shared file
// may have it, leaves the default and a note.
func (v *Values) fromFile(f *pflag.Flag, g given, all []*pflag.Flag) error {
	undo := keep(f)
	err := v.set(f.Name, File, func(string) (given, string, bool) { return g, v.file + ": " + f.Name, true })
	if err == nil {
		err = checkChoices(f, v.where(f.Name))
	}
	if err == nil || !slices.ContainsFunc(all, func(other *pflag.Flag) bool { return other != f && takes(other, g) }) {
		return err
	}
	undo()
	v.source[f.Name] = Default
	what := "is left out"
	if d := strings.Trim(f.DefValue, "[]"); d != "" && d != "0" {
		what = "is " + d
	}
	v.notes = append(v.notes, fmt.Sprintf("%s: %s: %s is for other commands; here --%s %s", v.file, f.Name, g.text, f.Name, what))
	return nil
}

// takes reports whether an option has room for a value; the option stays as it is.
func takes(f *pflag.Flag, g given) bool {
	defer keep(f)()
	return assign(f, g) == nil && checkChoices(f, "") == nil
}

// keep remembers an option's value, and gives what brings it back.
func keep(f *pflag.Flag) (undo func()) {
	if sv, ok := f.Value.(pflag.SliceValue); ok {
		old := sv.GetSlice()
		return func() { _ = sv.Replace(old) }
	}
	old := f.Value.String()
	return func() { _ = f.Value.Set(old) }
}

// Notes are what to tell of the values of a shared file that this command does not take.
func (v *Values) Notes() []string { return v.notes }

// environment reads the options' variables.
var environment = func() *viper.Viper {
	e := viper.New()
	e.SetEnvPrefix("longlora")
	e.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	e.AllowEmptyEnv(true) // an empty value is a wrong one, not none
	return e
}()

func envLookup(flag string) (value given, where string, ok bool) {
	if err := environment.BindEnv(flag); err != nil {
		panic(err) // no name was given
	}
	text := environment.GetString(flag)
	return given{text: text, plain: text}, envName(flag), environment.IsSet(flag)
}

// set gives an option a weaker source's value unless a stronger one has spoken.
func (v *Values) set(name string, s Source, lookup func(string) (value given, where string, ok bool)) error {
	value, where, ok := lookup(name)
	f := v.fs.Lookup(name)
	if !ok || f == nil || v.source[name] > Default {
		return nil
	}
	if err := assign(f, value); err != nil {
		return errs.Usagef("%s: %q: %s", where, value.text, Unfit(f, err))
	}
	v.source[name] = s
	return nil
}

// assign gives an option a value.
func assign(f *pflag.Flag, value given) error {
	sv, isList := f.Value.(pflag.SliceValue)
	if !isList {
		return f.Value.Set(value.as(f))
	}
	if value.list == nil {
		return sv.Replace(splitList(value.as(f)))
	}
	parts := []string{} // each whole: it may hold commas
	for _, part := range value.list {
		parts = append(parts, part.as(f))
	}
	return sv.Replace(parts)
}

func splitList(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}

// Explicit reports whether anything but the default gave the option.
func (v *Values) Explicit(name string) bool { return v != nil && v.source[name] > Default }

// Change is an option with another value than it has.
type Change struct{ Option, Value string }

// Command is the command line that was given, with changes: what a message advises can be typed as it stands. Options of
// the environment and the file are still in force and are not repeated.
func (v *Values) Command(changes ...Change) string {
	words := []string{"longlora", v.fs.Name()}
	to := map[string]string{}
	for _, c := range changes {
		to[c.Option] = c.Value
	}
	v.fs.VisitAll(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			if values = list.GetSlice(); f.Value.Type() != "stringArray" {
				values = []string{strings.Join(values, ",")}
			}
		}
		if changed, ok := to[f.Name]; ok {
			values = []string{changed}
		} else if v.source[f.Name] != Flag {
			return
		}
		for _, value := range values {
			switch {
			case f.Value.Type() == "bool" && value == "true":
				words = append(words, "--"+f.Name)
			case f.Value.Type() == "bool":
				words = append(words, "--"+f.Name+"="+value)
			default:
				words = append(words, "--"+f.Name, quoted(value))
			}
		}
	})
	return strings.Join(words, " ")
}

// quoted is a word as a shell takes it.
func quoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./,:=+%@", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// InFile reports whether the option's value is the file's, which may be shared with other commands.
func (v *Values) InFile(name string) bool { return v.source[name] == File }

// Exclusive keeps the one of two options that exclude each other that the stronger source gives; both in one source
// are an error. The other goes back to its default.
func (v *Values) Exclusive(a, b string) error {
	sa, sb := v.source[a], v.source[b]
	if sa == Default || sb == Default {
		return nil
	}
	if sa == sb {
		return errs.Usagef("--%s and --%s exclude each other; give one", a, b)
	}
	weak := a
	if sa > sb {
		weak = b
	}
	f := v.fs.Lookup(weak)
	v.source[weak] = Default
	if sv, ok := f.Value.(pflag.SliceValue); ok { // the lists that exclude others are empty by default
		return sv.Replace(nil)
	}
	return f.Value.Set(f.DefValue)
}

// Require names every option of the list that no source gives, or gives as nothing; a|b is either of two.
func (v *Values) Require(names ...string) error {
	has := func(n string) bool {
		f := v.fs.Lookup(n)
		return f != nil && v.source[n] > Default && f.Value.String() != "" && f.Value.String() != "[]"
	}
	var missing []string
	for _, n := range names {
		if either := strings.Split(n, "|"); !slices.ContainsFunc(either, has) {
			missing = append(missing, "--"+strings.Join(either, " or --"))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errs.Usagef("missing: %s; give them as flags, in %s or as LONGLORA_… variables", strings.Join(missing, ", "), DefaultFile)
}

// Effective is every option with its value, sorted, as a YAML file that gives the same run again.
func (v *Values) Effective() map[string]any {
	out := map[string]any{}
	v.fs.VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "help", "config", "json", "threads", "device-mem", "host-mem", "resume", "replan", "dry-run":
			return
		}
		if sv, ok := f.Value.(pflag.SliceValue); ok {
			if list := sv.GetSlice(); len(list) > 0 {
				out[f.Name] = list
			}
			return
		}
		if v.source[f.Name] == Default && f.DefValue == "" {
			return
		}
		out[f.Name] = f.Value.String()
	})
	return out
}
