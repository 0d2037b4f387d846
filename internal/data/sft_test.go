package data

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"longlora/internal/testkit/documents"
)

// Conversations, with tools and calls too, become the text and the ids that transformers makes of them.
func TestChatAsTransformersWritesIt(t *testing.T) {
	cases, enc := documents.ChatCases(t, "template/testdata")
	seen := map[string]int{}
	for _, c := range cases {
		if c.Prompt {
			continue
		}
		seen[c.Template]++
		o := Options{Paths: []string{write(t, "d.jsonl", string(c.Data))}, Template: c.Template, Pack: "pad", Ctx: 1 << 16, Vocab: enc.Size(),
			Encoder: enc, Tokenizer: &Identity{chat: c.Own, said: map[string]bool{}}}
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Errorf("%s: %s: %v", c.Template, c.Data, err)
			continue
		}
		ids := s.Row(0).IDs
		if got, err := enc.Decode(ids); err != nil || got != c.Text {
			t.Errorf("%s:\n%q, want\n%q", c.Template, got, c.Text)
		} else if c.IDs != nil && !slices.Equal(ids, c.IDs) {
			t.Errorf("%s: %q is\n%v, want\n%v", c.Template, got, ids, c.IDs)
		}
		var scored []int
		for _, p := range s.Row(0).Scored {
			for i := p.Lo; i < p.Hi; i++ {
				scored = append(scored, int(i))
			}
		}
		if c.Scored != nil && !slices.Equal(scored, c.Scored) {
			t.Errorf("%s: of %q %v are scored, want %v", c.Template, c.Text, scored, c.Scored)
		}
		s.Close()
	}
	for _, name := range []string{"llama2", "llama3", "chatml", "mistral", "phi", "granite", "gemma", "olmo"} {
		if seen[name] < 3 {
			t.Errorf("%s: %d cases", name, seen[name])
		}
	}
}

// What is left out of the model's own template is said once for all sources, and only where the template is its.
func TestLeftOutIsSaidOnce(t *testing.T) {
	_, enc := documents.ChatCases(t, "template/testdata")
	line := `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`
	for name, want := range map[string]int{Auto: 1, "chatml": 1, "llama2": 0} {
		var log bytes.Buffer
		o := Options{Paths: []string{write(t, "a.jsonl", line), write(t, "b.jsonl", line)}, Template: name, Pack: "pad", Ctx: 1 << 10, Vocab: enc.Size(), Log: &log,
			Encoder: enc, Tokenizer: &Identity{chat: `<|im_start|>system\nYou are a helpful assistant<|im_end|>`, said: map[string]bool{}}}
		for range 2 {
			s, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		}
		if n := strings.Count(log.String(), "left out, in training and in generate alike"); n != want {
			t.Errorf("%s: said %d times, want %d:\n%s", name, n, want, log.String())
		}
	}
}
