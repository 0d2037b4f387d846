package data

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"longlora/internal/errs"
)

// span is a stretch [lo, hi) of bytes or tokens.
type span struct{ lo, hi int }

// rendering is an example as text: answers are scored, each with the mark that ends it; prompts are the texts of
// the prompt, of which the longest may lose its middle.
type rendering struct {
	b                []byte
	answers, prompts []span
}

func (r *rendering) raw(s string) { r.b = append(r.b, s...) }

func (r *rendering) prompt(s string) {
	r.prompts = append(r.prompts, span{len(r.b), len(r.b) + len(s)})
	r.raw(s)
}

// user adds a user's text. That of alpaca data with an input is two texts, either of which may be the long one.
func (r *rendering) user(e *example, s string) {
	if e.alpaca && e.input != "" {
		whole := e.messages[0].Content
		cut := len(e.instruction) - (len(whole) - len(strings.TrimLeftFunc(whole, isSpace)))
		if len(s) == len(whole) { // it was taken as it is
			cut = len(e.instruction)
		}
		if cut >= 0 && cut < len(s) {
			r.prompt(s[:cut])
			r.raw(s[cut : cut+1])
			r.prompt(s[cut+1:])
			return
		}
	}
	r.prompt(s)
}

// other adds a text that is no answer.
func (r *rendering) other(e *example, role, s string) {
	if role == user {
		r.user(e, s)
	} else {
		r.prompt(s)
	}
}

func (r *rendering) answer(s string) {
	r.answers = append(r.answers, span{len(r.b), len(r.b) + len(s)})
	r.raw(s)
}

// template writes examples as text.
type template struct {
	name   string
	marks  []string // special tokens that it writes out
	render func(r *rendering, e *example) error
}

// TemplateNames are the templates that --template knows beside auto and files.
var TemplateNames = []string{"llama2", "longalpaca", "llama3", "chatml", "alpaca", "mistral"}

// builtin is a template by its name; eos is the tokenizer's end of a document.
func builtin(name, eos string) *template {
	switch name {
	case "llama2":
		return &template{name, []string{"<s>", "</s>"}, llama2}
	case "mistral":
		return &template{name, []string{"<s>", "</s>"}, mistral}
	case "longalpaca":
		return &template{name, []string{"</s>"}, longalpaca}
	case "llama3":
		return &template{name, []string{"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, llama3}
	case "chatml":
		return &template{name, []string{"<|im_start|>", "<|im_end|>"}, chatml}
	case "alpaca":
		return &template{name, nil, func(r *rendering, e *example) error { return stanford(r, e, eos) }}
	}
	return nil
}

// autoTemplate is the template by the marks in a tokenizer's chat template, alpaca where there are none that we know.
func autoTemplate(chat string) string {
	for _, m := range []struct{ mark, name string }{{"<|start_header_id|>", "llama3"}, {"<|im_start|>", "chatml"}, {"<<SYS>>", "llama2"}, {"[INST]", "mistral"}} {
		if strings.Contains(chat, m.mark) {
			return m.name
		}
	}
	return "alpaca"
}

// strip is Python's str.strip, by which the models' own templates trim.
func strip(s string) string { return strings.TrimFunc(s, isSpace) }

func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// turns goes through a conversation of a user and an assistant in turn, the user first, perhaps after a system text.
func turns(ms []Message, ask func(first bool, system *string, text string), reply func(text string)) error {
	var sys *string
	if ms[0].Role == system {
		s := strip(ms[0].Content)
		sys, ms = &s, ms[1:]
	}
	for i, m := range ms {
		want := []string{user, assistant}[i%2]
		if m.Role != want {
			return fmt.Errorf("a message of the %s where one of the %s is wanted: the template has a system text only before the first turn, then the user and the assistant in turn", m.Role, want)
		}
		if m.Role == user {
			ask(i == 0, sys, strip(m.Content))
			sys = nil
		} else {
			reply(strip(m.Content))
		}
	}
	return nil
}

func llama2(r *rendering, e *example) error {
	return turns(e.messages, func(_ bool, sys *string, text string) {
		r.raw("<s>[INST] ")
		if sys != nil {
			r.raw("<<SYS>>\n")
			r.prompt(*sys)
			r.raw("\n<</SYS>>\n\n")
		}
		r.user(e, text)
		r.raw(" [/INST]")
	}, func(text string) {
		r.raw(" ")
		r.answer(text + " </s>")
	})
}

func mistral(r *rendering, e *example) error {
	return turns(e.messages, func(first bool, sys *string, text string) {
		if first {
			r.raw("<s>")
		}
		r.raw("[INST] ")
		if sys != nil {
			r.prompt(*sys)
			r.raw("\n\n")
		}
		r.user(e, text)
		r.raw(" [/INST]")
	}, func(text string) {
		r.raw(" ")
		r.answer(text + "</s>")
	})
}

// pair are the only two messages of an example.
func pair(e *example) (ask, reply string, err error) {
	if ms := e.messages; len(ms) == 2 && ms[0].Role == user && ms[1].Role == assistant {
		return ms[0].Content, ms[1].Content, nil
	}
	return "", "", fmt.Errorf("%d messages where the template has one of the user and one of the assistant; use a chat template such as llama2", len(e.messages))
}

func longalpaca(r *rendering, e *example) error {
	ask, reply, err := pair(e)
	if err != nil {
		return err
	}
	r.raw("[INST]")
	r.user(e, ask)
	r.raw("[/INST]")
	r.answer(reply + "</s>")
	return nil
}

// stanford are the two prompts of Stanford Alpaca's training script.
func stanford(r *rendering, e *example, eos string) error {
	ask, reply, err := pair(e)
	if err != nil {
		return err
	}
	if e.alpaca {
		ask = e.instruction
	}
	if e.input != "" {
		r.raw("Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n")
		r.prompt(ask)
		r.raw("\n\n### Input:\n")
		r.prompt(e.input)
	} else {
		r.raw("Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n")
		r.prompt(ask)
	}
	r.raw("\n\n### Response:")
	r.answer(reply + eos)
	return nil
}

func llama3(r *rendering, e *example) error {
	r.raw("<|begin_of_text|>")
	for _, m := range e.messages {
		r.raw("<|start_header_id|>" + m.Role + "<|end_header_id|>\n\n")
		if text := strip(m.Content); m.Role == assistant {
			r.answer(text + "<|eot_id|>")
		} else {
			r.other(e, m.Role, text)
			r.raw("<|eot_id|>")
		}
	}
	return nil
}

func chatml(r *rendering, e *example) error {
	for _, m := range e.messages {
		r.raw("<|im_start|>" + m.Role + "\n")
		if m.Role == assistant {
			r.answer(m.Content + "<|im_end|>")
		} else {
			r.other(e, m.Role, m.Content)
			r.raw("<|im_end|>")
		}
		r.raw("\n")
	}
	return nil
}

// openTemplate is the template of --template: a name, auto, or a file.
func openTemplate(name, chat string, enc Encoder) (*template, error) {
	if name == Auto || name == "" {
		name = autoTemplate(chat)
	}
	if slices.Contains(TemplateNames, name) {
		return builtin(name, eosText(enc)), nil
	}
	return fileTemplate(name, enc)
}

// Ask is a user's message in a template, up to where the answer begins. name and chat are as for --template: a name,
// auto (by the marks in chat, the tokenizer's own template), or a file.
func Ask(name, chat string, enc Encoder, message string) (string, error) {
	t, err := openTemplate(name, chat, enc)
	if err != nil {
		return "", err
	}
	if lacking := t.missing(enc); len(lacking) > 0 {
		return "", errs.Usagef("--template %s: the tokenizer has no token %s; choose another template", t.name, strings.Join(lacking, ", "))
	}
	r := &rendering{}
	e := &example{alpaca: true, instruction: message, messages: []Message{{user, message}, {assistant, ""}}}
	if err := t.render(r, e); err != nil {
		return "", errs.Usagef("--template %s: %w", t.name, err)
	}
	if len(r.answers) == 0 {
		return "", errs.Usagef("--template %s: it marks no answer with {{answer}}", t.name)
	}
	return strings.TrimSuffix(string(r.b[:r.answers[len(r.answers)-1].lo]), " "), nil
}

// eosText is the end of a document as text, "" where no file says which token it is.
func eosText(enc Encoder) string {
	if id, ok := enc.EOS(); ok {
		return enc.Decode([]int32{id})
	}
	return ""
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
