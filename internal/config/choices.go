package config

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// The annotations under which a flag's values stand.
const (
	fixedValues = "longlora_values"
	thingValues = "longlora_things"
	usualValues = "longlora_usual_values"
)

// OneOf restricts an option, or each part of a list, to values; Load checks it.
func OneOf(f *pflag.FlagSet, flag string, values ...string) { annotate(f, flag, fixedValues, values) }

// thingOf is OneOf for names of things, as cards and models: one is never meant for another, however alike the names are.
func thingOf(f *pflag.FlagSet, flag string, values ...string) {
	OneOf(f, flag, values...)
	annotate(f, flag, thingValues, []string{"true"})
}

// usual names values of an option that takes others too.
func usual(f *pflag.FlagSet, flag string, values ...string) { annotate(f, flag, usualValues, values) }

func annotate(f *pflag.FlagSet, flag, key string, values []string) {
	if err := f.SetAnnotation(flag, key, values); err != nil {
		panic(err) // no such flag
	}
}

// Choices are the values that an option is known to take, and whether it takes no others.
func Choices(f *pflag.Flag) (values []string, fixed bool) {
	if values = f.Annotations[fixedValues]; values != nil {
		return values, true
	}
	return f.Annotations[usualValues], false
}

// checkChoices refuses a value that an option does not take; where names the option.
func checkChoices(f *pflag.Flag, where string) error {
	allowed, fixed := Choices(f)
	if !fixed || f.Value.String() == f.DefValue {
		return nil
	}
	values := []string{f.Value.String()}
	if list, ok := f.Value.(pflag.SliceValue); ok {
		values = list.GetSlice()
	}
	for _, s := range values {
		if !slices.Contains(allowed, s) {
			meant := ""
			if f.Annotations[thingValues] == nil {
				meant = nearest(s, allowed)
			}
			return errs.Usagef("%s %s: not one of %s%s", where, s, strings.Join(allowed, ", "), meant)
		}
	}
	return nil
}
