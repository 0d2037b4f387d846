package template

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"longlora/internal/data/example"
)

// What is asked of a conversation of several turns is the beginning of what training renders of it with the answer.
func TestAskAfterTurns(t *testing.T) {
	tk := loaded(t)
	for _, name := range []string{"llama2", "mistral", "llama3", "chatml", "phi", "granite", "gemma", "olmo"} {
		for _, sys := range []string{"", "Be brief."} {
			var log bytes.Buffer
			a, err := NewAsker(name, "", OwnSystem{}, tk, &log)
			if err != nil {
				t.Fatal(err)
			}
			talk := &example.Talk{}
			if sys != "" {
				talk.System(sys)
			}
			for turn, text := range []string{"one?", "two\n2?", " three? "} {
				talk.Say(text)
				asked, err := a.Ask(talk)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				talk.Answer("reply " + text)
				r := &Rendering{}
				if err := a.t.Write(r, &talk.Example); err != nil {
					t.Fatal(err)
				}
				got := strings.TrimPrefix(strings.TrimPrefix(string(r.Text), asked.Prompt), " ")
				if !strings.HasPrefix(string(r.Text), asked.Prompt) || !strings.HasPrefix(got, strings.TrimSpace("reply "+text)) {
					t.Errorf("%s, turn %d: %q does not begin %q", name, turn, asked.Prompt, r.Text)
				}
			}
			if n := strings.Count(log.String(), "by the template"); n != 1 {
				t.Errorf("%s is named %d times: %s", name, n, log.String())
			}
		}
	}
}

// A line holds what training data does, without its last answer.
func TestReadTalk(t *testing.T) {
	tk := loaded(t)
	a, err := NewAsker("chatml", "", OwnSystem{}, tk, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n<|im_start|>user\nand?<|im_end|>\n<|im_start|>assistant\n"
	for _, line := range []string{
		`{"messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"},{"role":"assistant","content":"yes"},{"role":"user","content":"and?"}]}`,
		`{"system":"S","conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"yes"},{"from":"human","value":[{"type":"text","text":"and?"}]}]}`,
	} {
		talk, err := example.ReadTalk([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		if asked, err := a.Ask(talk); err != nil || asked.Prompt != want || !talk.HasSystem() {
			t.Errorf("%s: %q, %v", line, asked, err)
		}
	}
	talk, err := example.ReadTalk([]byte(`{"prompt":"hi","id":7}`))
	if err != nil {
		t.Fatal(err)
	}
	if asked, err := a.Ask(talk); err != nil || asked.Prompt != "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n" {
		t.Errorf("%q, %v", asked, err)
	}
	for line, says := range map[string]string{
		`{`: "", `[]`: "object", `{"text":"x"}`: "messages", `{"messages":[]}`: `field "messages" is an empty list`,
		`{"question":"","answer":"x"}`: `field "question" is an empty string and holds no text`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`: "last message",
		`{"messages":[{"role":"user","content":"a","image":"x"}]}`:                        "image",
		`{"prompt":7}`: "prompt", `{"messages":[{"role":"nobody","content":"a"}]}`: "nobody",
	} {
		if _, err := example.ReadTalk([]byte(line)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// What of a line is passed over, or read otherwise than it stands, is noted as such, each field once.
func TestAskNotes(t *testing.T) {
	tk := loaded(t)
	var log bytes.Buffer
	a, err := NewAsker("alpaca", "", OwnSystem{}, tk, &log)
	if err != nil {
		t.Fatal(err)
	}
	log.Reset()
	for i, line := range []string{`{"prompt":"a","id":7}`, `{"prompt":"b","id":8,"score":1}`, `{"prompt":"c"}`} {
		talk, err := example.ReadTalk([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		talk.Where = fmt.Sprint("asked.jsonl:", i+1)
		if i == 2 {
			talk.Replaced = "1 place is no UTF-8"
		}
		if _, err := a.Ask(talk); err != nil {
			t.Fatal(err)
		}
	}
	const want = "note: asked.jsonl:1: not read: id\nnote: asked.jsonl:2: not read: score\n" +
		"note: asked.jsonl:3: 1 place is no UTF-8\n"
	if log.String() != want {
		t.Errorf("%s, want %s", log.String(), want)
	}
}
