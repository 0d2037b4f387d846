package template

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"longlora/internal/data/example"
	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/testkit/documents"
)

// talkOf is a conversation of messages.
func talkOf(t *testing.T, ms []map[string]string) *example.Talk {
	t.Helper()
	b, err := json.Marshal(map[string]any{"messages": ms})
	if err != nil {
		t.Fatal(err)
	}
	talk, err := example.ReadTalk(b)
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
	testkit.ReadJSON(t, "testdata/system.json", &c)
	_, enc := documents.ChatCases(t, "testdata")
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
	tk := loaded(t)
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
