package cli

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// run has what a training run needs.
var run = []string{"--data=d", "--ctx=64", "--out=o", "--model=m"}

// commands are the commands with options of their own: the least that each needs, and what makes its options.
var commands = map[string]struct {
	args []string
	make func(v *Values) error
}{
	"train": {run, func(v *Values) error {
		_, err := v.Train()
		if err == nil {
			_, _, _, err = v.Ranks()
			_, _ = v.Notify()
		}
		return err
	}},
	"extend": {run, func(v *Values) error {
		_, err := v.Extend()
		_, _ = v.Notify()
		if err == nil {
			_, _, _, err = v.Ranks()
		}
		return err
	}},
	"plan": {run, func(v *Values) error { _, err := v.Plan(); return err }},
	"bench": {[]string{"--ctx=64"}, func(v *Values) error {
		_, err := v.Bench()
		if err == nil {
			_, _, _, err = v.Ranks()
		}
		return err
	}},
	"eval": {[]string{"--model=m", "--task=ppl", "--data=d", "--ctx=64"},
		func(v *Values) error { _, _, err := v.Eval(); return err }},
	"generate": {[]string{"--model=m", "--prompt=p"}, func(v *Values) error { _, _, err := v.Generate(); return err }},
	"prepare":  {[]string{"--model=m", "--data=d", "--out=o", "--stats"}, func(v *Values) error { _, err := v.Prepare(); return err }},
}

// A command takes no option that nothing of it looks at.
func TestEveryOptionIsUsed(t *testing.T) {
	for command, c := range commands {
		fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
		Define(command, fs)
		if err := fs.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		v, err := Load(fs)
		if err == nil {
			err = c.make(v)
		}
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		v.Place()
		// of every command, and those that plan takes so that train's command line is one of its own
		let := []string{"help", "config", "json"}
		if command == "plan" {
			let = append(let, "data", "out", "format", "template", "text-field", "skip-bad", "add-bos",
				"train-on-prompt", "system-default", "system-date", "overlong", "lr", "lr-embed", "schedule",
				"warmup-steps", "max-grad-norm", "weight-decay", "beta1", "beta2", "eps", "epochs", "shuffle", "seed",
				"eval-data", "eval-fraction", "save-every", "keep", "keep-best", "early-stop", "resume", "replan",
				"dry-run")
		}
		for _, name := range NamesOf(command) {
			if !v.used[name] && !slices.Contains(let, name) {
				t.Errorf("%s --%s: nothing looks at it", command, name)
			}
		}
	}
}

// An option of a command may be given alone: no other one is asked for that the command does not have.
func TestEachOptionAlone(t *testing.T) {
	for command, c := range commands {
		for _, name := range NamesOf(command) {
			fs := pflag.NewFlagSet(command, pflag.ContinueOnError)
			Define(command, fs)
			f := fs.Lookup(name)
			if f == nil {
				continue // help, which cobra adds
			}
			text := f.DefValue
			if text == "" || text == "[]" {
				text = "1"
			}
			if err := fs.Parse(append(slices.Clone(c.args), "--"+name+"="+text)); err != nil {
				continue // that it is not one of its values is another test's
			}
			func() {
				defer func() {
					if p := recover(); p != nil {
						t.Errorf("%s --%s=%s: %v", command, name, text, p)
					}
				}()
				if v, err := Load(fs); err == nil {
					_ = c.make(v) // refused or not, but by an error
				}
			}()
		}
	}
}
