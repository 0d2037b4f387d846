package template

import (
	"fmt"
	"regexp"
	"strings"

	"longlora/internal/data/example"
	"longlora/internal/data/jinja"
)

// The families' templates that write each message between marks of its role. What a family's models write differently
// goes by their own templates.

// phiNewline is the end of a turn in Phi-3's own templates.
var phiNewline = regexp.MustCompile(`<\|end\|>(['"]\s*\+\s*['"])?(\\n|\n)`)

// newPhi is the template of Phi-3, Phi-4-mini (without line ends) or Phi-4, by the model's own.
func newPhi(eos, chat string) *Template {
	p := phiForm{before: "<|", after: "|>\n", end: "<|end|>", line: "\n", eos: eos}
	marks := []string{"<|system|>", "<|user|>", "<|assistant|>", "<|end|>"}
	switch {
	case strings.Contains(chat, "<|im_sep|>"):
		p = phiForm{before: "<|im_start|>", after: "<|im_sep|>", end: "<|im_end|>"}
		marks = []string{"<|im_start|>", "<|im_sep|>", "<|im_end|>"}
	case chat != "" && !phiNewline.MatchString(chat):
		p.after, p.line = "|>", ""
	}
	if chat != "" && !strings.Contains(chat, "eos_token") {
		p.eos = ""
	}
	return &Template{marks: marks, render: p.render}
}

// phiForm is what stands around a role and a text.
type phiForm struct{ before, after, end, line, eos string }

func (p phiForm) render(r *Rendering, e *example.Example) error {
	for _, m := range e.Messages {
		r.raw(p.before + m.Role + p.after)
		if m.Role == example.Assistant {
			r.answer(m, m.Content, p.end)
		} else {
			r.user(m, m.Content)
			r.raw(p.end)
		}
		r.raw(p.line)
	}
	r.raw(p.eos)
	return nil
}

func granite(r *Rendering, e *example.Example) error {
	for _, m := range e.Messages {
		r.raw("<|start_of_role|>" + m.Role + "<|end_of_role|>")
		if m.Role == example.Assistant {
			r.answer(m, m.Content, "<|end_of_text|>")
		} else {
			r.user(m, m.Content)
			r.raw("<|end_of_text|>")
		}
		r.raw("\n")
	}
	return nil
}

// gemma has no role for a system text: Gemma 3 writes it before the first text of the user, Gemma 2 refuses it.
func gemma(r *Rendering, e *example.Example, refuses bool) error {
	r.raw("<bos>")
	if refuses && e.Messages[0].Role == example.System {
		return fmt.Errorf("%s: a system text, which the model's own template refuses; write it into the first text of the "+
			"user, or leave it out",
			e.Messages[0].At)
	}
	var before *string
	if e.Messages[0].Role == example.System { // untrimmed
		before = &e.Messages[0].Content
	}
	return turns(e.Messages, func(_ bool, sys *string, m example.Message) {
		r.raw("<start_of_turn>user\n")
		if sys != nil {
			r.prompt(*before)
			r.raw("\n\n")
		}
		r.user(m, jinja.Strip(m.Content))
		r.raw("<end_of_turn>\n")
	}, func(m example.Message) {
		r.raw("<start_of_turn>model\n")
		r.answer(m, jinja.Strip(m.Content), "<end_of_turn>")
		r.raw("\n")
	})
}

// olmoOwn is a turn of the user in OLMo's own templates: Zephyr's, which begins so too, ends it with EOS.
const olmoOwn = `<\|user\|>(\\n|\n)[^}]*content[^}]*\+\s*['"](\\n|\n)['"]\s*-?\}`

func olmo(r *Rendering, e *example.Example) error {
	r.raw("<|endoftext|>")
	for i, m := range e.Messages {
		r.raw("<|" + m.Role + "|>\n")
		if m.Role == example.Assistant {
			r.answer(m, m.Content, "<|endoftext|>")
		} else {
			r.user(m, m.Content)
		}
		if m.Role != example.Assistant || i+1 < len(e.Messages) {
			r.raw("\n")
		}
	}
	return nil
}
