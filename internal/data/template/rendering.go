package template

import (
	"strings"

	"longlora/internal/data/example"
	"longlora/internal/data/jinja"
)

// Span is a stretch [lo, hi) of bytes.
type Span struct{ Lo, Hi int }

// Rendering is an example as text. Answers are what is scored, each with the mark that ends it, and Prompts the texts
// of the prompt, of which the longest may lose its middle; both in order, none over another.
type Rendering struct {
	Text             []byte
	Answers, Prompts []Span
}

func (r *Rendering) raw(s string) { r.Text = append(r.Text, s...) }

func (r *Rendering) prompt(s string) {
	r.Prompts = append(r.Prompts, Span{len(r.Text), len(r.Text) + len(s)})
	r.raw(s)
}

// user adds a user's text, perhaps trimmed. One that is an instruction and its input is two texts, either of which may
// be the long one.
func (r *Rendering) user(m example.Message, s string) {
	cut := m.Cut
	if len(s) < len(m.Content) {
		cut -= len(m.Content) - len(strings.TrimLeftFunc(m.Content, jinja.IsSpace))
	}
	if m.Cut > 0 && cut >= 0 && cut < len(s) {
		r.prompt(s[:cut])
		r.raw(s[cut : cut+1])
		s = s[cut+1:]
	}
	r.prompt(s)
}

// answer adds an answer and the mark that ends it, both scored unless the data says otherwise.
func (r *Rendering) answer(m example.Message, s, end string) {
	if m.Silent {
		r.prompt(s)
		r.raw(end)
		return
	}
	r.Answers = append(r.Answers, Span{len(r.Text), len(r.Text) + len(s) + len(end)})
	r.raw(s + end)
}
