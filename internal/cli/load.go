package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/rundir"
	"longlora/internal/train"
)

// Source is where an option's value comes from, the weakest first.
type Source int

// The sources.
const (
	Default Source = iota
	Recipe
	Today  // the day on which a run begins
	Record // of the run that is gone on from
	File
	Env
	Flag
)

// groups are the commands that a launcher may start several of.
var groups = []string{"train", "eval", "bench"}

// DefaultFile is read when it stands in the working directory and no other is named.
const DefaultFile = rundir.ConfigFile

// Values are a command's options with their sources; the values themselves stand in the flag set.
type Values struct {
	fs     *pflag.FlagSet
	source map[string]Source
	file   string
	notes  []string
	say    func(note string) // nil: notes are kept until somebody asks
	used   map[string]bool   // options whose values something has taken
}

// option is the declaration of an option of the command.
func (v *Values) option(name string) *Option { return Find(v.fs.Name(), name) }

// Load brings every option of a command to its effective value. The flags are what Define made and a command line gave;
// they are named after the command.
func Load(flags *pflag.FlagSet) (*Values, error) {
	if p, _ := dist.FromEnvironment(os.Getenv); p.Size > 1 && !p.Launched && !slices.Contains(groups, flags.Name()) {
		return nil, errs.Usagef("%s of %d processes (%s): %s runs as one process; only train, eval and bench run "+
			"as a group", "WORLD_SIZE", p.Size, p.By, flags.Name())
	}
	if err := checkVariables(); err != nil {
		return nil, err
	}
	v := &Values{fs: flags, source: map[string]Source{}, used: map[string]bool{}}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			v.source[f.Name] = Flag
		}
	})
	if err := v.set("config", Env, envLookup); err != nil {
		return nil, err
	}
	file, err := v.read()
	if err != nil {
		return nil, err
	}
	var first error
	flags.VisitAll(func(f *pflag.Flag) {
		if first == nil && f.Name != "help" && f.Name != "config" {
			first = v.set(f.Name, Env, envLookup)
		}
		if g, ok := file[f.Name]; ok && first == nil && v.source[f.Name] == Default {
			first = v.fromFile(f, g)
		} else if first == nil {
			first = v.option(f.Name).choose(f, v.where(f.Name))
		}
	})
	v.sayFile()
	v.sayVariables()
	if first == nil {
		first = v.exclude()
	}
	if first == nil {
		first = v.cook()
	}
	return v, first
}

// exclude keeps of options that exclude each other those that stronger sources give.
func (v *Values) exclude() (err error) {
	v.fs.VisitAll(func(f *pflag.Flag) {
		if o := v.option(f.Name); o != nil && o.Not != "" && err == nil {
			err = v.Exclusive(f.Name, o.Not)
		}
	})
	return err
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
		v.note("%s of this folder sets %s", v.file, strings.Join(set, ", "))
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

// by is how a message names an option by what gave it where its value does not follow.
func (v *Values) by(name string) string {
	return strings.TrimSuffix(v.where(name), ":")
}

// shown is an option with its value, as it was given.
func (v *Values) shown(name string) string {
	between := " "
	if v.source[name] == Env {
		between = "="
	}
	return v.where(name) + between + strings.Join(parts(v.fs.Lookup(name)), ",")
}

// fromFile gives an option the file's value. One that this command does not take but another one does, as a shared file
// may have it, leaves the default and a note.
func (v *Values) fromFile(f *pflag.Flag, g given) error {
	undo := keep(f)
	err := v.set(f.Name, File, func(string) (given, string, bool) { return g, v.file + ": " + f.Name, true })
	if err == nil {
		err = v.option(f.Name).choose(f, v.where(f.Name))
	}
	if err == nil || !others(v.option(f.Name), g) {
		return err
	}
	undo()
	v.source[f.Name] = Default
	what := "is left out"
	if d := strings.Trim(f.DefValue, "[]"); d != "" && d != "0" {
		what = "is " + d
	}
	v.note("%s: %s: %s is for other commands; here --%s %s", v.file, f.Name, g.text, f.Name, what)
	return nil
}

// others reports whether another option of the same name takes a value.
func others(own *Option, g given) bool {
	for i := range table {
		if o := &table[i]; o != own && o.Name == own.Name {
			fs := pflag.NewFlagSet(o.Of, pflag.ContinueOnError)
			o.define(fs)
			if f := fs.Lookup(o.Name); assign(f, g) == nil && o.choose(f, "") == nil {
				return true
			}
		}
	}
	return false
}

// choose refuses a value that an option does not take; where names the option.
func (o *Option) choose(f *pflag.Flag, where string) error {
	if len(o.Values) == 0 || o.Open || f.Value.String() == f.DefValue {
		return nil
	}
	for _, s := range parts(f) {
		if !slices.Contains(o.Values, s) {
			meant := ""
			if !o.Things {
				meant = nearest(s, o.Values)
			}
			return errs.Usagef("%s %s: not one of %s%s", where, s, strings.Join(o.Values, ", "), meant)
		}
	}
	return nil
}

// parts are an option's values, one for all but lists.
func parts(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

// check refuses a given value that an option's declaration does not allow. Nothing at all, as a variable of a script
// that is not set leaves it, is allowed where a text is meant to be read, and nowhere else.
func (v *Values) check() (err error) {
	v.fs.VisitAll(func(f *pflag.Flag) {
		o := v.option(f.Name)
		if err != nil || o == nil || !v.Given(f.Name) {
			return
		}
		if !o.Prose && strings.Join(parts(f), "") == "" {
			err = errs.Usagef("%s: it has no value; give one or leave it out", v.by(f.Name))
			return
		}
		for _, s := range parts(f) {
			wrong := ""
			if o.isPath() {
				wrong = homeless(s)
			}
			if wrong == "" && o.Check != nil {
				wrong = o.Check(s)
			}
			if wrong != "" {
				err = errs.Usagef("%s: %s", strings.TrimSpace(v.where(f.Name)+" "+s), wrong)
				return
			}
		}
	})
	return err
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

// Notes are what is to be told of values that are not used as they were given.
func (v *Values) Notes() []string { return v.notes }

// Say tells the notes that there are, and from now on each as it comes up.
func (v *Values) Say(say func(note string)) {
	for _, n := range v.notes {
		say(n)
	}
	v.say = say
}

func (v *Values) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	if v.notes = append(v.notes, n); v.say != nil {
		v.say(n)
	}
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

// Given reports whether a flag, the environment or a file gave the option.
func (v *Values) Given(name string) bool { return v.source[name] >= File }

// InFile reports whether the option's value is the file's, which may be shared with other commands.
func (v *Values) InFile(name string) bool { return v.source[name] == File }

// Exclusive keeps the one of two options that exclude each other that the stronger source gives; both in one source
// are an error. The other goes back to its default, and a note says so.
func (v *Values) Exclusive(a, b string) error {
	sa, sb := v.source[a], v.source[b]
	if sa < File || sb < File {
		return nil
	}
	if sa == sb {
		return errs.Usagef("%s and %s exclude each other; give one", v.by(a), v.by(b))
	}
	weak, strong := a, b
	if sa > sb {
		weak, strong = b, a
	}
	f := v.fs.Lookup(weak)
	if f.Value.String() != f.DefValue {
		v.note("%s is left out: %s excludes it", v.shown(weak), v.shown(strong))
	}
	v.source[weak] = Default
	if sv, ok := f.Value.(pflag.SliceValue); ok {
		return sv.Replace(splitList(strings.Trim(f.DefValue, "[]")))
	}
	return f.Value.Set(f.DefValue)
}

// Require names every option of the list that no source gives, or gives as nothing; a|b is either of two.
func (v *Values) Require(names ...string) error {
	has := func(n string) bool {
		f := v.fs.Lookup(n)
		return f != nil && v.Given(n) && f.Value.String() != "" && f.Value.String() != "[]"
	}
	var missing []string
	for _, n := range names {
		if either := strings.Split(n, "|"); !slices.ContainsFunc(either, has) {
			missing = append(missing, "--"+strings.Join(either, " or --")+v.empty(either))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	how := "it as a flag, in %s or as a LONGLORA_… variable"
	if len(missing) > 1 {
		how = "them as flags, in %s or as LONGLORA_… variables"
	}
	return errs.Usagef("missing: %s; give "+how, strings.Join(missing, ", "), DefaultFile)
}

// empty says which of some options was given with nothing in it, as by a shell's variable that is not set.
func (v *Values) empty(names []string) string {
	for _, n := range names {
		if v.fs.Lookup(n) != nil && v.Given(n) {
			return " (" + v.by(n) + " is given, but empty)"
		}
	}
	return ""
}

// settings are the options that a run keeps, for the record of a command's run.
func (v *Values) settings(command string) (out []train.Setting) {
	v.fs.VisitAll(func(f *pflag.Flag) {
		o := v.option(f.Name)
		if o == nil || o.Resume == train.OfCall || Find(command, f.Name) == nil {
			return
		}
		source := v.source[f.Name]
		x := train.Setting{Option: errs.Option(f.Name), Given: v.Given(f.Name), Unset: o.unset() && source == Default,
			Resume: o.Resume}
		if x.Recipe = byRecipe(f.Name); v.byRule(f.Name) {
			source = Recipe // whoever asked for its rule
		}
		x.Recipe = x.Recipe || f.Name == "system-date" // which the day answers, as a recipe would
		x.From = v.origin(source)
		switch list, isList := f.Value.(pflag.SliceValue); {
		case isList && len(list.GetSlice()) == 0, v.source[f.Name] == Default && f.DefValue == "":
			return
		case isList:
			x.Value = list.GetSlice()
		case o.Kind == Text:
			x.Value = f.Value.String()
		default:
			x.Value = train.Number(f.Value.String())
		}
		out = append(out, x)
	})
	return out
}
