package data

import (
	"strings"
	"testing"

	"longlora/internal/data/example"
	"longlora/internal/data/template"
)

// A token is scored when any of its bytes lies in an answer: the one that joins the space before it with its first
// letters is, the space alone is not.
func TestScoredTokens(t *testing.T) {
	tk, _ := real(t)
	for _, c := range []struct {
		template string
		e        *example.Example
		want     string
	}{
		{"llama2", turnsOf("u:q", "a:the a"), "<s>|[|INST|]| |q| [|/|INST|]|⟦ the⟧|⟦ a⟧|⟦ ⟧|⟦</s>⟧"},
		{"llama2", turnsOf("u:q", "a:\tq"), "<s>|[|INST|]| |q| [|/|INST|]| |⟦q⟧|⟦ ⟧|⟦</s>⟧"},
		{"longalpaca", turnsOf("u:of", "a: the"), "<s>|[|INST|]|o|f|[|/|INST|]|⟦ the⟧|⟦</s>⟧"},
		{"longalpaca", turnsOf("u:<s>a", "a:b"), "<s>|[|INST|]|<s>|a|[|/|INST|]|⟦b⟧|⟦</s>⟧"},
		{"mistral", turnsOf("u:q", "a:x</s>y", "u:r", "a:z"), "<s>|[|INST|]| |q| [|/|INST|]| |⟦x⟧|⟦</s>⟧|⟦y⟧|⟦</s>⟧|[|INST|]| |r| [|/|INST|]| |⟦z⟧|⟦</s>⟧"},
	} {
		tm, err := template.Open(c.template, "", template.OwnSystem{}, tk)
		if err != nil {
			t.Fatal(err)
		}
		e := encoder{enc: tk, vocab: 320, template: tm}
		ids, d, err := e.example(nil, c.e)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for i, id := range ids {
			s, err := tk.Decode([]int32{id})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range d.Answers {
				if i >= a.Lo && i < a.Hi {
					s = "⟦" + s + "⟧"
				}
			}
			parts = append(parts, s)
		}
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("%s: %s, want %s", c.template, got, c.want)
		}
	}
}

// turnsOf is a conversation of messages of the user and the assistant.
func turnsOf(texts ...string) *example.Example {
	e := &example.Example{}
	for _, s := range texts {
		role, text, _ := strings.Cut(s, ":")
		e.Messages = append(e.Messages, example.Message{Role: map[string]string{"u": example.User, "a": example.Assistant}[role], Content: text})
	}
	return e
}
