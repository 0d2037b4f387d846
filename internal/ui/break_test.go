package ui

import (
	"strings"
	"testing"
)

// Notes, warnings and errors break between words; a command in them stays whole in a line of its own; what is laid out
// already, and what fits, stays as it is.
func TestBroken(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"note: short\n", "note: short\n"},
		{"note: one two three four five six\n", "note: one two three\nfour five six\n"},
		{"memory      one two three four five six\n", "memory      one two three four five six\n"},
		{"longlora: does not fit: longlora plan --ctx 5 --shape tiny. For more raise --host-mem\n",
			"longlora: does not\nfit:\n  longlora plan --ctx 5 --shape tiny\nFor more raise\n--host-mem\n"},
		{"longlora: not here: longlora merge --model a.b\nnote: é é é é é é é é é é é\n",
			"longlora: not here:\n  longlora merge --model a.b\nnote: é é é é é é é\né é é é\n"},
		{"note: wrote now \" 4  2\" for \"a \\\" b\"\n", "note: wrote now\n\" 4  2\" for \"a \\\" b\"\n"},
		{"note: \"one two three four five six\"\n", "note: \"one two three\nfour five six\"\n"},
	} {
		if got := broken(c.in, 20); got != c.want {
			t.Errorf("%q becomes\n%q, want\n%q", c.in, got, c.want)
		}
	}
	var b strings.Builder
	long := "note: " + strings.Repeat("word ", 50) + "\n"
	if n, err := NewBreaking(&b).Write([]byte(long)); n != len(long) || err != nil || b.String() != long {
		t.Errorf("where there is no terminal: %d, %v, %q", n, err, b.String())
	}
}
