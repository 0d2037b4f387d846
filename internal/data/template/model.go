package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"longlora/internal/data/example"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// maxTokenizerFile bounds a tokenizer's configuration, which holds a table of added tokens at most.
const maxTokenizerFile = 64 << 20

// ChatTemplate is the text of the chat template in a model's folder, "" without any: a file of its own, or a field
// that is a text or a list of named ones, of which the default counts. Where there are several the first of
// chat_template.jinja, tokenizer_config.json and chat_template.json wins, as in transformers.
func ChatTemplate(dir string) (string, error) {
	b, err := files.Read(filepath.Join(dir, "chat_template.jinja"), maxTokenizerFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return string(b), err
	}
	for _, name := range []string{"tokenizer_config.json", "chat_template.json"} {
		path := filepath.Join(dir, name)
		b, err := files.Read(path, maxTokenizerFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		var f struct {
			Chat json.RawMessage `json:"chat_template"`
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return "", errs.Dataf("%s: %w", path, err)
		}
		var text string
		var named []struct{ Name, Template string }
		switch {
		case len(f.Chat) == 0 || string(f.Chat) == "null":
		case json.Unmarshal(f.Chat, &text) == nil:
			return text, nil
		case json.Unmarshal(f.Chat, &named) == nil:
			for i, n := range named {
				if i == 0 || n.Name == "default" {
					text = n.Template
				}
			}
			return text, nil
		default:
			return "", errs.Dataf("%s: chat_template is neither a text nor a list of named ones", path)
		}
	}
	return "", nil
}

// chatMarks tell our templates by what only they write. LLaMA-2's and Mistral's share theirs but for the system text's,
// Phi-4's are ChatML's with another behind the role.
var chatMarks = []struct{ mark, name string }{
	{"<|start_header_id|>", "llama3"}, {"<|im_sep|>", "phi"}, {"<|im_start|>", "chatml"}, {"<start_of_turn>", "gemma"},
	{"<|start_of_role|>", "granite"},
	{"<<SYS>>", "llama2"}, {"[INST]", "mistral"},
}

// roleMarks are templates that write the role itself as a mark, which several families do.
var roleMarks = []struct {
	mark, name string
	own        *regexp.Regexp
}{
	{"<|end|>", "phi", regexp.MustCompile(`(?s)(<\|user\|>|['"]<\|['"]\s*\+\s*message).*<\|end\|>`)},
	{"<|user|>", "olmo", regexp.MustCompile(`(?s)\b(bos|eos)_token.*` + olmoOwn)},
}

// autoTemplate is the template by the marks in a model's own, alpaca where there are none that we know, and why.
func autoTemplate(chat string) (name, why string) {
	const writes = "the model's own chat template writes "
	for _, m := range chatMarks {
		if strings.Contains(chat, m.mark) {
			return m.name, writes + m.mark
		}
	}
	for _, m := range roleMarks {
		if m.own.MatchString(chat) {
			return m.name, writes + m.mark
		}
	}
	if chat == "" {
		return "alpaca", "the tokenizer has no chat template"
	}
	return "alpaca", "the model's own chat template has the marks of none that are known; write it as a file for " +
		errs.Option("template").String()
}

// What the models' own templates add to a conversation: a system text where there is none, a header with the date.
var (
	ownSystem = []*regexp.Regexp{
		regexp.MustCompile(`<\|im_start\|>system(?:<\|im_sep\|>|\\n|\n)([^'"{}<\\\s][^'"{}<]*)`),
		regexp.MustCompile(`\bset\s+\w*system_(?:message|prompt|text|content)\s*=\s*['"]([^'"]+)`),
		regexp.MustCompile(`['"](You are an? [^'"]*assistant[^'"]*)`),
	}
	ownDate = regexp.MustCompile(`strftime_now|date_string|Today(?:'s)? Date|Cutting Knowledge Date|Knowledge Cutoff`)
)

// leftOut is what a model's own template adds by itself and ours does not, in words; "" where there is nothing.
func leftOut(chat string) string {
	var parts []string
	for _, r := range ownSystem {
		if m := r.FindStringSubmatch(chat); m != nil {
			parts = append(parts, fmt.Sprintf("a system text where a conversation has none (%q)",
				example.Shortened(strings.TrimSpace(m[1]))))
			break
		}
	}
	if ownDate.MatchString(chat) {
		parts = append(parts, "a header with the date")
	}
	return strings.Join(parts, " and ")
}
