package data

import (
	"fmt"
	"strings"
	"unicode"
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

// user adds a user's text, perhaps trimmed. One that is an instruction and its input is two texts, either of which may
// be the long one.
func (r *rendering) user(m Message, s string) {
	cut := m.cut
	if len(s) < len(m.Content) {
		cut -= len(m.Content) - len(strings.TrimLeftFunc(m.Content, isSpace))
	}
	if m.cut > 0 && cut >= 0 && cut < len(s) {
		r.prompt(s[:cut])
		r.raw(s[cut : cut+1])
		s = s[cut+1:]
	}
	r.prompt(s)
}

// answer adds an answer and the mark that ends it, both scored unless the data says otherwise.
func (r *rendering) answer(m Message, s, end string) {
	if m.silent {
		r.prompt(s)
		r.raw(end)
		return
	}
	r.answers = append(r.answers, span{len(r.b), len(r.b) + len(s) + len(end)})
	r.raw(s + end)
}

// template writes examples as text.
type template struct {
	name   string
	why    string   // it was chosen, where nobody named it
	marks  []string // special tokens that it writes out
	tools  bool     // it has a place for functions, their calls and results
	own    *ownText // what the model's own template makes of the system text; nil: it is left as it is
	render func(r *rendering, e *example) error
}

// write renders an example.
func (t *template) write(r *rendering, e *example) error {
	if !t.tools {
		if err := noTools(e); err != nil {
			return err
		}
	}
	if t.own != nil {
		with := *e
		with.messages = t.own.apply(e.messages)
		e = &with
	}
	return t.render(r, e)
}

// templateNames are the templates that --template knows beside auto and files.
var templateNames = []string{"llama2", "longalpaca", "llama3", "chatml", "alpaca", "mistral", "phi", "granite", "gemma",
	"olmo"}

// builtin is a template by its name; eos is the tokenizer's end of a document. chat is the model's own template, which
// says how functions' results are written, and which of a family's forms it is.
func builtin(name, eos, chat string) *template {
	t := &template{name: name}
	switch name {
	case "llama2":
		t.marks, t.render = []string{"<s>", "</s>"}, llama2
	case "mistral":
		t.marks, t.render = []string{"<s>", "</s>"}, mistral
	case "longalpaca":
		t.marks, t.render = []string{"</s>"}, longalpaca
	case "llama3":
		result := tool
		if strings.Contains(chat, "ipython") {
			result = "ipython"
		}
		t.tools, t.marks = true, []string{"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}
		t.render = func(r *rendering, e *example) error { return llama3(r, e, result) }
	case "chatml":
		wrapped := strings.Contains(chat, "<tool_response>")
		t.tools, t.marks = true, []string{"<|im_start|>", "<|im_end|>"}
		t.render = func(r *rendering, e *example) error { return chatml(r, e, wrapped) }
	case "phi":
		t = newPhi(eos, chat)
		t.name = name
	case "granite":
		t.marks, t.render = []string{"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"}, granite
	case "gemma":
		refuses := strings.Contains(chat, "System role not supported")
		t.marks = []string{"<bos>", "<start_of_turn>", "<end_of_turn>"}
		t.render = func(r *rendering, e *example) error { return gemma(r, e, refuses) }
	case "olmo":
		t.marks, t.render = []string{"<|endoftext|>"}, olmo
	case "alpaca":
		t.render = func(r *rendering, e *example) error { return stanford(r, e, eos) }
	}
	return t
}

// strip is Python's str.strip, by which the models' own templates trim.
func strip(s string) string { return strings.TrimFunc(s, isSpace) }

func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// turns goes through a conversation of a user and an assistant in turn, the user first, perhaps after a system text,
// which is given with the first of the user's.
func turns(ms []Message, ask func(first bool, system *string, m Message), reply func(m Message)) error {
	var sys *string
	if ms[0].Role == system {
		s := ms[0].trimmed()
		sys, ms = &s, ms[1:]
	}
	for i, m := range ms {
		want := []string{user, assistant}[i%2]
		if m.Role != want {
			return fmt.Errorf("%s: a message of the %s where one of the %s is wanted: the template has a system text only "+
				"before the first turn, then the user and the assistant in turn", m.at, m.Role, want)
		}
		if m.Role == user {
			ask(i == 0, sys, m)
			sys = nil
		} else {
			reply(m)
		}
	}
	return nil
}

func llama2(r *rendering, e *example) error {
	return turns(e.messages, func(_ bool, sys *string, m Message) {
		r.raw("<s>[INST] ")
		if sys != nil {
			r.raw("<<SYS>>\n")
			r.prompt(*sys)
			r.raw("\n<</SYS>>\n\n")
		}
		r.user(m, strip(m.Content))
		r.raw(" [/INST]")
	}, func(m Message) {
		r.raw(" ")
		r.answer(m, strip(m.Content), " </s>")
	})
}

func mistral(r *rendering, e *example) error {
	return turns(e.messages, func(first bool, sys *string, m Message) {
		if first {
			r.raw("<s>")
		}
		r.raw("[INST] ")
		if sys != nil {
			r.prompt(*sys)
			r.raw("\n\n")
		}
		r.user(m, strip(m.Content))
		r.raw(" [/INST]")
	}, func(m Message) {
		r.raw(" ")
		r.answer(m, strip(m.Content), "</s>")
	})
}

// pair are the only two messages of an example.
func pair(e *example) (ask, reply Message, err error) {
	ms := e.messages
	if len(ms) == 2 && ms[0].Role == user && ms[1].Role == assistant {
		return ms[0], ms[1], nil
	}
	const mend = "; use a chat template such as llama2, llama3, chatml or mistral"
	if ms[0].Role == system {
		return ask, reply, fmt.Errorf("%s: a system text, for which the template has no place%s", ms[0].at, mend)
	}
	return ask, reply, fmt.Errorf("%s: the first of %d messages where the template has one of the user and one of the "+
		"assistant%s", ms[0].at, len(ms), mend)
}

func longalpaca(r *rendering, e *example) error {
	ask, reply, err := pair(e)
	if err != nil {
		return err
	}
	r.raw("[INST]")
	r.user(ask, ask.Content)
	r.raw("[/INST]")
	r.answer(reply, reply.Content, "</s>")
	return nil
}

// stanford are the two prompts of Stanford Alpaca's training script.
func stanford(r *rendering, e *example, eos string) error {
	ask, reply, err := pair(e)
	if err != nil {
		return err
	}
	text := ask.Content
	if e.alpaca {
		text = e.instruction
	}
	if e.input != "" {
		r.raw("Below is an instruction that describes a task, paired with an input that provides further context. Write a " +
			"response that appropriately completes the request.\n\n### Instruction:\n")
		r.prompt(text)
		r.raw("\n\n### Input:\n")
		r.prompt(e.input)
	} else {
		r.raw("Below is an instruction that describes a task. Write a response that appropriately completes the " +
			"request.\n\n### Instruction:\n")
		r.prompt(text)
	}
	r.raw("\n\n### Response:")
	r.answer(reply, reply.Content, eos)
	return nil
}
