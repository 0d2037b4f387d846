package cli

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"longlora/internal/dist"
	"longlora/internal/errs"
)

// envName is the variable of an option: LONGLORA_MAX_GRAD_NORM.
func envName(flag string) string {
	return "LONGLORA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// variables are those of the environment that are no option's, with the values that each takes; none where that is not
// a choice. One with nothing is as good as none.
var variables = map[string][]string{
	"LONGLORA_CPU":      {"plain", "avx2", "avx512"},
	"LONGLORA_DEBUG":    {"0", "1"},
	"LONGLORA_CUBLASLT": nil,
	"LONGLORA_NCCL":     nil,
}

// checkVariables refuses a value that one of them does not take.
func checkVariables() error {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		is, takes := os.Getenv(name), variables[name]
		if is != "" && len(takes) > 0 && !slices.Contains(takes, is) {
			return errs.Usagef("%s is %.40q: not one of %s; give one of them or unset it", name, is,
				strings.Join(takes, ", "))
		}
	}
	return dist.CheckVariables(os.Getenv)
}

// sayVariables notes those that look like an option's and are none's, and of the options' those that are empty: both
// have no effect.
func (v *Values) sayVariables() {
	v.fs.VisitAll(func(f *pflag.Flag) {
		if text, set := os.LookupEnv(envName(f.Name)); set && text == "" {
			v.note("%s is empty and has no effect, as if it were not set", envName(f.Name))
		}
	})
	known := slices.Concat(slices.Collect(maps.Keys(variables)), dist.Variables)
	for _, name := range names() {
		known = append(known, envName(name))
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		short, ok := strings.CutPrefix(strings.ToUpper(name), "LONGLORA_") // in small letters it is none either
		if ok && !slices.Contains(known, name) {
			option, meant := likely(strings.ToLower(strings.ReplaceAll(short, "_", "-")), names()), ""
			if option != "" {
				meant = question("", envName(option))
			}
			v.note("%.100s is no option's variable and has no effect%s", name, meant)
		}
	}
}

// environment reads the options' variables.
var environment = func() *viper.Viper {
	e := viper.New()
	e.SetEnvPrefix("longlora")
	e.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	for _, name := range names() {
		e.MustBindEnv(name) // once: each time would add a look at the variable
	}
	return e
}()

func envLookup(flag string) (value given, where string, ok bool) {
	text := environment.GetString(flag)
	return given{text: text, plain: text}, envName(flag), environment.IsSet(flag)
}
