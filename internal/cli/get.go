package cli

import (
	"strconv"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
	"longlora/internal/s2attn"
)

// value is an option's value, which is thereby used.
func (v *Values) value(name string) pflag.Value {
	v.used[name] = true
	return v.fs.Lookup(name).Value
}

// get is the value of an option, which the table says the command has and of which kind.
func get[T any](v *Values, name string, from func(*pflag.FlagSet, string) (T, error)) T {
	v.value(name)
	x, err := from(v.fs, name)
	if err != nil {
		panic(err) // another kind, or no option of the command
	}
	return x
}

// JSON reports whether results are wanted as one JSON document.
func (v *Values) JSON() bool { return v.truth("json") }

// DryRun reports whether only what would be done is to be said.
func (v *Values) DryRun() bool { return v.option("dry-run") != nil && v.truth("dry-run") }

// Out is the option of where to write.
func (v *Values) Out() string { return v.text("out") }

// Notify is the command to run at the end, "" for none. The working folder's file may not say it: that folder may be
// anyone's.
func (v *Values) Notify() (string, error) {
	s := v.text("notify")
	if s != "" && v.source["notify"] == File && v.source["config"] == Default {
		return "", errs.Usagef("%s: notify: a command is run only where --config names the file", v.file)
	}
	return s, nil
}

func (v *Values) text(name string) string { return get(v, name, (*pflag.FlagSet).GetString) }

// texts are the values of an option of several texts, or of a list by comma.
func (v *Values) texts(name string) []string {
	list := v.value(name).(pflag.SliceValue).GetSlice()
	if len(list) == 0 {
		return nil
	}
	return list
}

func (v *Values) whole(name string) int { return get(v, name, (*pflag.FlagSet).GetInt) }

func (v *Values) seed(name string) uint64 { return get(v, name, (*pflag.FlagSet).GetUint64) }

func (v *Values) real(name string) float64 { return get(v, name, (*pflag.FlagSet).GetFloat64) }

func (v *Values) truth(name string) bool { return get(v, name, (*pflag.FlagSet).GetBool) }

func (v *Values) tokens(name string) int { return v.value(name).(*numeral[int]).n }

func (v *Values) lengths(name string) []int { return *v.value(name).(*tokensList).list }

// rate is a learning rate; nil where it is auto.
func (v *Values) rate(name string) *float64 { return v.value(name).(*rate).x }

// bytes is a size; nil where nothing gives it.
func (v *Values) bytes(name string) *int64 {
	n, ok := parseBytes(v.text(name))
	if !ok {
		return nil
	}
	return &n
}

// count is a number of things; nil where it is auto.
func (v *Values) count(name string) *int {
	n, err := strconv.Atoi(v.text(name))
	if err != nil {
		return nil
	}
	return &n
}

// window is what is to become of sliding windows; nil where nothing says it.
func (v *Values) window() *s2attn.Choice {
	c := s2attn.Choice(*v.value("sliding-window").(*choice))
	if !v.Given("sliding-window") {
		return nil
	}
	return &c
}

// given are those of some options that a flag, the environment or a file gave.
func (v *Values) given(names ...errs.Option) (out []errs.Option) {
	for _, n := range names {
		if v.Given(string(n)) {
			out = append(out, n)
		}
	}
	return out
}
