// Package config reads a command's options: flags win over environment variables over the YAML file over
// defaults. What is unknown, contradictory or out of range is an error that names where it stands.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"longlora/internal/errs"
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
const DefaultFile = "longlora.yaml"

// Values are a command's options with their sources; the values themselves stand in the flag set.
type Values struct {
	fs     *pflag.FlagSet
	source map[string]Source
	file   string
}

// envName is the variable of an option: LONGLORA_MAX_GRAD_NORM.
func envName(flag string) string {
	return "LONGLORA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Load brings every option of fs to its effective value. known are the options of all commands: a file may be
// shared between them.
func Load(flags *pflag.FlagSet, known map[string]bool) (*Values, error) {
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
		if first == nil && f.Name != "help" && f.Name != "config" {
			first = v.set(f.Name, File, func(name string) (given, string, bool) {
				g, ok := file[name]
				return g, v.file + ": " + name, ok
			})
		}
		if first == nil {
			first = checkChoices(f)
		}
	})
	return v, first
}

// given is a value as its source has it: one text, and its parts where it is a YAML list.
type given struct {
	text string
	list []string
}

func envLookup(flag string) (value given, where string, ok bool) {
	text, ok := os.LookupEnv(envName(flag))
	return given{text: text}, envName(flag), ok
}

// set gives an option a weaker source's value unless a stronger one has spoken.
func (v *Values) set(name string, s Source, lookup func(string) (value given, where string, ok bool)) error {
	value, where, ok := lookup(name)
	if f := v.fs.Lookup(name); !ok || f == nil || v.source[name] > Default {
		return nil
	} else if sv, isList := f.Value.(pflag.SliceValue); isList {
		parts := value.list // a part of a YAML list may hold commas
		if parts == nil {
			parts = splitList(value.text)
		}
		if err := sv.Replace(parts); err != nil {
			return errs.Usagef("%s: %v", where, err)
		}
	} else if err := f.Value.Set(value.text); err != nil {
		return errs.Usagef("%s: %q: %v", where, value.text, err)
	}
	v.source[name] = s
	return nil
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

// read loads the YAML file into option names and values.
func (v *Values) read(known map[string]bool) (map[string]given, error) {
	path := ""
	if f := v.fs.Lookup("config"); f != nil {
		path = f.Value.String()
	}
	if path == "" {
		path = DefaultFile
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	v.file = path
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, errs.Usagef("--config: %w", err)
	}
	var plain map[string]any
	if err := yaml.Unmarshal(b, &plain); err != nil {
		return nil, errs.Usagef("%s: not YAML: %w", path, err)
	}
	vp := viper.New()
	if err := vp.MergeConfigMap(plain); err != nil {
		return nil, errs.Usagef("%s: %w", path, err)
	}
	out := map[string]given{}
	keys := vp.AllKeys()
	sort.Strings(keys)
	for _, k := range keys {
		name := strings.ReplaceAll(k, "_", "-")
		if !known[name] {
			return nil, errs.Usagef("%s: %s is no option%s", path, k, nearest(name, known))
		}
		value, err := plainValue(vp.Get(k))
		if err != nil {
			return nil, errs.Usagef("%s: %s: %w", path, k, err)
		}
		if _, twice := out[name]; twice {
			return nil, errs.Usagef("%s: %s stands twice, with - and with _", path, name)
		}
		out[name] = value
	}
	return out, nil
}

// plainValue is a YAML value as a flag has it.
func plainValue(x any) (given, error) {
	list, ok := x.([]any)
	if !ok {
		text, err := plainText(x)
		return given{text: text}, err
	}
	parts := []string{}
	for _, e := range list {
		s, err := plainText(e)
		if err != nil {
			return given{}, err
		}
		parts = append(parts, s)
	}
	return given{strings.Join(parts, ","), parts}, nil
}

func plainText(x any) (string, error) {
	switch t := x.(type) {
	case nil:
		return "", errors.New("it has no value; give one or remove the line")
	case float64:
		return strconv.FormatFloat(t, 'g', -1, 64), nil
	case string, bool, int, int64, uint64:
		return fmt.Sprint(t), nil
	}
	return "", fmt.Errorf("a value of type %T where a number, text or a list is wanted", x)
}

// nearest suggests the known name closest to a mistyped one.
func nearest(name string, known map[string]bool) string {
	best, least := "", 1+len(name)/2
	var names []string
	for k := range known {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// distance is the number of insertions, deletions and replacements that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diag
			if a[i] != b[j] {
				d++
			}
			diag = row[j+1]
			row[j+1] = min(d, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Suggest completes an unknown flag's error with the nearest real one.
func Suggest(flags *pflag.FlagSet, name string) string {
	known := map[string]bool{}
	flags.VisitAll(func(f *pflag.Flag) { known[f.Name] = true })
	if s := nearest(name, known); s != "" {
		return strings.Replace(s, "mean ", "mean --", 1)
	}
	return ""
}

// Explicit reports whether anything but the default gave the option.
func (v *Values) Explicit(name string) bool { return v != nil && v.source[name] > Default }

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
