package template

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/data/example"
	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/testkit/documents"
)

// A prompt, with a system text too, becomes what transformers makes of it, by the template that the model's own names.
func TestAskAsTransformersDoes(t *testing.T) {
	cases, enc := documents.ChatCases(t, "testdata")
	ends := map[string]string{"llama2": "</s>", "mistral": "</s>", "llama3": "<|eot_id|>", "chatml": "<|im_end|>", "phi": "<|end|>",
		"granite": "<|end_of_text|>", "gemma": "<end_of_turn>", "olmo": "<|endoftext|>"}
	n := 0
	for _, c := range cases {
		var row struct{ Messages []example.Message }
		if err := json.Unmarshal(c.Data, &row); err != nil {
			t.Fatal(err)
		}
		if own, _ := autoTemplate(c.Own); own != c.Template {
			t.Errorf("%s is taken for %s", c.Own, own)
		}
		if !c.Prompt {
			continue
		}
		n++
		sys := ""
		if row.Messages[0].Role == example.System {
			sys, row.Messages = row.Messages[0].Content, row.Messages[1:]
		}
		end := ends[c.Template]
		if strings.Contains(c.Own, "<|im_sep|>") {
			end = "<|im_end|>"
		}
		for _, name := range []string{Auto, c.Template} {
			var log bytes.Buffer
			a, err := askOne(name, c.Own, enc, sys, row.Messages[0].Content, &log)
			if err != nil {
				t.Fatal(err)
			}
			if a.Prompt != c.Text || a.Template != c.Template || a.End != end {
				t.Errorf("%s:\n%q ended by %q, want\n%q", a.Template, a.Prompt, a.End, c.Text)
			}
			if ids, err := enc.Encode(a.Prompt); err != nil || !slices.Equal(ids, c.IDs) {
				t.Errorf("%s: %q is\n%v, want\n%v", c.Template, a.Prompt, ids, c.IDs)
			}
			if !strings.Contains(log.String(), "by the template "+c.Template) || (name == Auto) != strings.Contains(log.String(), "own chat template writes") {
				t.Errorf("%s said: %s", name, log.String())
			}
		}
	}
	if n < 12 {
		t.Errorf("%d cases", n)
	}
	var log bytes.Buffer
	file := testkit.Temp(t, "t.tmpl", "{{range .Messages}}{{if eq .Role \"assistant\"}}{{answer}}{{.Content}}{{end_answer}}{{else if eq .Role \"user\"}}{{.Content}}{{end}}{{end}}")
	if _, err := askOne(file, "", enc, "be", "hi", &log); err != nil || !strings.Contains(log.String(), "texts of the system (the template file leaves them out)") {
		t.Errorf("a template file that leaves out the system text: %s, %v", log.String(), err)
	}
	for _, name := range []string{"alpaca", "longalpaca"} {
		if _, err := askOne(name, "", enc, "be", "hi", &bytes.Buffer{}); errs.Code(err) != 2 || !strings.Contains(err.Error(), "--system") {
			t.Errorf("%s with a system text: %v", name, err)
		}
	}
}

// What ends an answer is known whatever the template file puts round it.
func TestAskByFile(t *testing.T) {
	tk := loaded(t)
	for text, want := range map[string][2]string{
		"{{range .Messages}}{{if eq .Role \"assistant\"}}A: {{answer}}{{.Content}}\n##\n{{end_answer}}{{else}}{{.Content}}\n{{end}}{{end}}": {"hi\nA:", "##"},
		"{{.Instruction}}{{answer}}So: {{(index .Messages 1).Content}}{{.EOS}}{{end_answer}}":                                               {"hi", "</s>"},
	} {
		if a, err := askOne(testkit.Temp(t, "t.tmpl", text), "", tk, "", "hi", &bytes.Buffer{}); err != nil || a.Prompt != want[0] || a.End != want[1] {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

// The first of the places where a chat template may stand counts, as in transformers.
func TestChatTemplate(t *testing.T) {
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{nil, ""},
		{map[string]string{"tokenizer_config.json": `{"chat_template": null}`}, ""},
		{map[string]string{"tokenizer_config.json": `{"chat_template": "<<SYS>>"}`, "chat_template.json": `{"chat_template": "no"}`}, "<<SYS>>"},
		{map[string]string{"tokenizer_config.json": `{"chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]}`}, "yes"},
		{map[string]string{"tokenizer_config.json": `{"chat_template": [{"name": "rag", "template": "first"}, {"name": "x", "template": "no"}]}`}, "first"},
		{map[string]string{"tokenizer_config.json": `{}`, "chat_template.json": `{"chat_template": "legacy"}`}, "legacy"},
		{map[string]string{"tokenizer_config.json": `{"chat_template": "no"}`, "chat_template.jinja": "{{ own }}"}, "{{ own }}"},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			testkit.Write(t, filepath.Join(dir, name), text)
		}
		if got, err := ChatTemplate(dir); err != nil || got != c.want {
			t.Errorf("%v: %q, %v", c.files, got, err)
		}
	}
	dir := filepath.Dir(testkit.Temp(t, "tokenizer_config.json", `{"chat_template": 7}`))
	if _, err := ChatTemplate(dir); errs.Code(err) != 4 || !strings.Contains(err.Error(), "chat_template") {
		t.Errorf("a number: %v", err)
	}
}

func TestAutoTemplate(t *testing.T) {
	for chat, want := range map[string][2]string{
		"":                {"alpaca", "no chat template"},
		"<|user|>{{ x }}": {"alpaca", "none that are known"},
		// Zephyr's, Tülu's and GPT-OSS's marks are others' in part
		"{{ '<|user|>\n' + message['content'] + eos_token }}":                          {"alpaca", "none that are known"},
		"{{ '<|user|>\n' + message['content'] + '\n' }}":                               {"alpaca", "none that are known"},
		"{{ '<|start|>' + role + '<|message|>' + message.content + '<|end|>' }}":       {"alpaca", "none that are known"},
		"{{ bos_token }}{{ '<|user|>\n' + message['content'] + '\n' }}{{ eos_token }}": {"olmo", "<|user|>"},
		"{{ eos_token }}{{ '<|user|>\\n' + message.content + '\\n' -}}":                {"olmo", "<|user|>"},
		"{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}":         {"phi", "<|end|>"},
		"<|im_start|>user<|im_sep|>":                                                   {"phi", "<|im_sep|>"},
		"'<start_of_turn>'":                                                            {"gemma", "<start_of_turn>"},
		"<|start_of_role|>":                                                            {"granite", "<|start_of_role|>"},
		"'<|start_header_id|>'":                                                        {"llama3", "<|start_header_id|>"},
		"<|im_start|>":                                                                 {"chatml", "<|im_start|>"},
		"[INST] <<SYS>>":                                                               {"llama2", "<<SYS>>"},
		"{% if x %}[INST]{{ y }}[/INST]":                                               {"mistral", "[INST]"},
		"'<|im_start|>' + '[INST] <<SYS>>":                                             {"chatml", "<|im_start|>"},
	} {
		if name, why := autoTemplate(chat); name != want[0] || !strings.Contains(why, want[1]) {
			t.Errorf("%q: %s, %s", chat, name, why)
		}
	}
}

// What a model's own template adds by itself is found in the forms that public models have.
func TestLeftOut(t *testing.T) {
	for chat, want := range map[string]string{
		`{{ '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}`: `"You are Qwen, created by Alibaba Cloud. …"`,
		"{{ '<|im_start|>system\nYou help.<|im_end|>' }}":                                                              `"You help."`,
		`{{ '<|im_start|>system<|im_sep|>You are Phi, a language model.' }}`:                                           `"You are Phi, a language model."`,
		`{%- set g4_default_system_message = 'Be kind.' %}<|start_of_role|>`:                                           `"Be kind."`,
		`{% set default_system_message = 'Be kind.' %}<|im_start|>`:                                                    `"Be kind."`,
		`{%- set system_message = "You know all." -%}`:                                                                 `"You know all."`,
		`{{- "You are a helpful assistant." }}`:                                                                        `"You are a helpful assistant."`,
		`{{- "Cutting Knowledge Date: December 2023\n" }}{{- "Today Date: " + date_string + "\n\n" }}`:                 "a header with the date",
		`{{ '<|im_start|>system\nBe.' }}{{ strftime_now("%d %b %Y") }}`:                                                `("Be.") and a header with the date`,
		`{{ '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}`:                                       "",
		`{{- '<|im_start|>system\n' }}{{- messages[0].content }}`:                                                      "",
		`{% set system_message = messages[0]['content'] %}{% set system_message = '' %}`:                               "",
		`{% set system_message = false %}[INST] <<SYS>>\n`:                                                             "",
	} {
		if got := leftOut(chat); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: %s, want %s", chat, got, want)
		}
	}
}

// askOne writes one message of the user's, after a system text where there is one.
func askOne(name, chat string, enc Vocabulary, sys, message string, log io.Writer) (*Asked, error) {
	a, err := NewAsker(name, chat, OwnSystem{}, enc, log)
	if err != nil {
		return nil, err
	}
	t := &example.Talk{}
	t.Say(message)
	if sys != "" {
		t.System(sys)
	}
	return a.Ask(t)
}
