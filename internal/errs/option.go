package errs

import "strings"

// Option names an option of the command line in a message: Usagef("%s %d: must be even", Option("ctx"), n). Packages
// below the command line know what an option is called, but only this type knows how it is written. At the head of an
// error the command line puts what gave the value in its place: a variable, or the file and its field.
type Option string

func (o Option) String() string { return "--" + string(o) }

// Change is an option with another value than it has; with none it is left out.
type Change struct {
	Option Option
	Value  string
}

// Advice are changes of options that mend what an error says. It is wrapped where the message names the command that
// works: NoFitf("%w; what fits: %w", err, Advice{{"ctx", "4096"}}). The command line writes the whole command there.
type Advice []Change

func (a Advice) Error() string { return "the same command with " + a.String() }

// String is the changes as a command line has them.
func (a Advice) String() string {
	var words []string
	for _, c := range a {
		if c.Value == "" {
			words = append(words, "no "+c.Option.String())
			continue
		}
		words = append(words, c.Option.String()+"="+c.Value)
	}
	return strings.Join(words, " ")
}

// Quoted is a word as a shell takes it.
func Quoted(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./,:=+%@", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
