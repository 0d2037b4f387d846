package jinja

import (
	"strings"
	"testing"
	"time"
)

func TestStrftime(t *testing.T) {
	day := time.Date(2026, 3, 7, 15, 4, 9, 0, time.UTC)
	for form, want := range map[string]string{"%d %b %Y": "07 Mar 2026", "%B %-d, %Y": "March 7, 2026", "%A %a %y-%m %H:%M:%S %I %p %j": "Saturday Sat 26-03 15:04:09 03 PM 066", "100%%": "100%", "%": "%", "%Q": "%Q"} {
		if got := strftime(day, form); got != want {
			t.Errorf("%q is %q, want %q", form, got, want)
		}
	}
}

// A template that takes too much of anything is ended, and is an error.
func TestHostileTemplates(t *testing.T) {
	for _, c := range []struct{ chat, want string }{
		{"{{ 'a' * 100000000000 }}", "takes more than"},
		{"{% set n = namespace(s='aaaaaaaa') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
			"takes more than"},
		{"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without end"},
		{"{{ " + strings.Repeat("(", 100000) + "1" + strings.Repeat(")", 100000) + " }}", ""},
		{"{% for i in range(170) %}{{ 'a' * 100000 }}{% endfor %}", "writes more than 16 MiB"},
		{"{% include '/etc/passwd' %}", "unable to load"},
		{"{{ raise_exception('no') }}", ErrRaised.Error()},
	} {
		_, err := Run(Work{Chat: c.chat, Messages: []any{map[string]any{"role": "user", "content": "x"}}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %s", c.chat, err, c.want)
		}
	}
}
