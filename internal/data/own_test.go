package data

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// talkOf is a conversation of messages.
func talkOf(t *testing.T, ms []map[string]string) *Talk {
	t.Helper()
	b, err := json.Marshal(map[string]any{"messages": ms})
	if err != nil {
		t.Fatal(err)
	}
	talk, err := ReadTalk(b)
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

// With a model's own system text the prompt is what transformers makes of the conversation by the model's own template
// (scripts/gen-system-cases.py), in our template by its name and by its marks.
func TestOwnSystemAsTransformers(t *testing.T) {
	if testing.Short() {
		t.Skip("templates rendered one after the other: minutes under the race detector, which has nothing to see there")
	}
	var c struct {
		Date  string
		Cases []struct {
			Template, Own, Text string
			Messages            []map[string]string
		}
	}
	testkit.ReadJSON(t, "testdata/chat/system.json", &c)
	_, enc := chatCases(t)
	for _, x := range c.Cases {
		for _, name := range []string{Auto, x.Template} {
			var log bytes.Buffer
			a, err := NewAsker(name, x.Own, OwnSystem{Written: true, Date: c.Date}, enc, &log)
			if err != nil {
				t.Errorf("%s: %v", x.Own, err)
				continue
			}
			got, err := a.Ask(talkOf(t, x.Messages))
			if err != nil || got.Prompt != x.Text {
				t.Errorf("%s: %v\n%q, want\n%q", x.Own, err, got.Prompt, x.Text)
			}
			if !strings.Contains(log.String(), "is written, in training and in generate alike") {
				t.Errorf("it says: %s", log.String())
			}
		}
	}
	if len(c.Cases) < 15 {
		t.Errorf("%d cases", len(c.Cases))
	}
}

// Without one of its own, or with one that writes something else, there is nothing to take over, or an error.
func TestOwnSystemRefused(t *testing.T) {
	tk, _ := real(t)
	const body = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
	if a, err := NewAsker("chatml", body, OwnSystem{Written: true}, tk, &bytes.Buffer{}); err != nil || a.t.own.String() != "nothing" {
		t.Errorf("%v", err)
	}
	refusing := "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + body
	if a, err := NewAsker("chatml", refusing, OwnSystem{Written: true}, tk, &bytes.Buffer{}); err != nil || a.t.own.String() != "nothing" {
		t.Errorf("one that refuses a system text: %v", err)
	}
	for chat, says := range map[string]string{
		"": "no chat template", "{% if %}": "own chat template", "{{ raise_exception('x') }}": "own chat template",
		body + "{{ 'more' }}":                 "which is not the template chatml",
		"{% for m in messages %}{% endfor %}": "which is not the template chatml",
		"{% include '/etc/hostname' %}":       "own chat template",
	} {
		if _, err := NewAsker("chatml", chat, OwnSystem{Written: true}, tk, &bytes.Buffer{}); errs.Code(err) != 4 || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", chat, err)
		}
	}
	if _, err := NewAsker("chatml", body, OwnSystem{Written: true, Date: "7.3.2026"}, tk, &bytes.Buffer{}); errs.Code(err) != 2 {
		t.Errorf("a date: %v", err)
	}
}

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
		{"{{ raise_exception('no') }}", errRaised.Error()},
	} {
		_, err := runJinja(jinjaWork{Chat: c.chat, Messages: []any{map[string]any{"role": user, "content": "x"}}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v, want %s", c.chat, err, c.want)
		}
	}
}
