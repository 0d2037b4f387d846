package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"longlora/internal/errs"
)

// Command is the command line that was given, with changes: what a message advises can be typed as it stands. Options
// of the environment and the file are still in force and are not repeated.
func (v *Values) Command(changes errs.Advice) string {
	words := []string{"longlora", v.fs.Name()}
	v.fs.VisitAll(func(f *pflag.Flag) {
		values := parts(f)
		if o := v.option(f.Name); o != nil && o.List() {
			values = []string{strings.Join(values, ",")}
		}
		if i := slices.IndexFunc(changes, func(c errs.Change) bool { return string(c.Option) == f.Name }); i >= 0 {
			if values = []string{changes[i].Value}; values[0] == "" {
				return
			}
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
				words = append(words, "--"+f.Name, errs.Quoted(value))
			}
		}
	})
	return strings.Join(words, " ")
}

// told is an error in the words of the command line.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }

func (t *told) Unwrap() error { return t.err }

// Tell writes an error that came from below in the words of the command line: advice becomes the whole command, and an
// option at the head of the message is named by what gave it.
func (v *Values) Tell(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	var advice errs.Advice
	if errors.As(err, &advice) {
		text = strings.Replace(text, advice.Error(), v.Command(advice), 1)
	}
	if head, ok := strings.CutPrefix(text, "--"); ok {
		name := head
		if end := strings.IndexAny(head, " :="); end >= 0 {
			name = head[:end]
		}
		if v.option(name) != nil {
			where, rest := v.where(name), head[len(name):]
			if strings.HasPrefix(rest, ":") {
				where = strings.TrimSuffix(where, ":")
			}
			text = where + rest
		}
	}
	if text == err.Error() {
		return err
	}
	return &told{text, err}
}
