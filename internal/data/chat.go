package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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
				shortened(strings.TrimSpace(m[1]))))
			break
		}
	}
	if ownDate.MatchString(chat) {
		parts = append(parts, "a header with the date")
	}
	return strings.Join(parts, " and ")
}

// openTemplate is the template of --template: a name, auto (by the marks in chat, the model's own), or a file.
func openTemplate(name, chat string, enc Encoder) (*template, error) {
	why := ""
	if name == Auto || name == "" {
		name, why = autoTemplate(chat)
	}
	if !slices.Contains(templateNames, name) {
		return fileTemplate(name, enc)
	}
	eos, err := eosText(enc)
	if err != nil {
		return nil, err
	}
	t := builtin(name, eos, chat)
	t.why = why
	return t, nil
}

// notes are what is to be said of a template that writes what, for a model whose own is chat: its name and why; and,
// of the model, which of its marks are no tokens, and what of the model's own it leaves out.
func (t *template) notes(what, chat string, enc Encoder) (of string, model []string) {
	of = what + " by the template " + t.name
	if t.why != "" {
		of += " (" + t.why + ")"
	}
	if m := t.missing(enc); len(m) > 0 {
		model = append(model, fmt.Sprintf("the tokenizer has no token %s: the template's marks are encoded as text",
			strings.Join(m, ", ")))
	}
	if t.own != nil {
		model = append(model, fmt.Sprintf("of the model's own chat template is written, in training and in generate "+
			"alike: %s", t.own))
	} else if own, _ := autoTemplate(chat); own == t.name && leftOut(chat) != "" {
		model = append(model, fmt.Sprintf("the model's own chat template may add %s; this is left out, in training and in "+
			"generate alike, without %s", leftOut(chat), errs.Option("system-default")))
	}
	return of, model
}

// eosText is the end of a document as text, "" where no file says which token it is.
func eosText(enc Encoder) (string, error) {
	if id, ok := enc.EOS(); ok {
		return enc.Decode([]int32{id})
	}
	return "", nil
}

// missing are the template's marks that are no tokens of the tokenizer.
func (t *template) missing(enc Encoder) (out []string) {
	for _, m := range t.marks {
		if _, ok := enc.ID(m); !ok {
			out = append(out, m)
		}
	}
	return out
}
