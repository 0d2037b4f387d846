package template

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"longlora/internal/data/example"
	"longlora/internal/errs"
)

// Asked is a conversation in a template, up to where the next answer begins.
type Asked struct {
	Prompt   string // the text
	End      string // what ends an answer, a token's text or another; "" for nothing
	Template string // the name of the one that wrote it
}

// Asker writes conversations in a template for a model to answer.
type Asker struct {
	t      *Template
	said   map[string]bool // notes that the log has
	fields map[string]bool // that it names as not read
	log    io.Writer
}

// NewAsker opens a template as Open does. What is to be said of it, and of what it leaves out, goes to log, once.
func NewAsker(name, chat string, own OwnSystem, enc Vocabulary, log io.Writer) (*Asker, error) {
	t, err := Open(name, chat, own, enc)
	if err != nil {
		return nil, err
	}
	a := &Asker{t: t, said: map[string]bool{}, fields: map[string]bool{}, log: log}
	of, model := t.Notes("the prompt is written", chat, enc)
	a.note(append([]string{of}, model...))
	return a, nil
}

func (a *Asker) note(notes []string) {
	for _, n := range notes {
		if !a.said[n] {
			fmt.Fprintf(a.log, "note: %s\n", n)
		}
		a.said[n] = true
	}
}

// tell notes what of a conversation is not read as it stands: fields that were passed over, each once, and bytes that
// are no UTF-8.
func (a *Asker) tell(t *example.Talk, unread []string) {
	where := cmp.Or(t.Where, "the conversation")
	unread = slices.DeleteFunc(slices.Clone(unread), func(field string) bool {
		said := a.fields[field]
		a.fields[field] = true
		return said
	})
	if len(unread) > 0 {
		a.note([]string{where + ": not read: " + example.FieldList(nil, unread)})
	}
	if t.Replaced != "" {
		a.note([]string{where + ": " + t.Replaced})
	}
}

// Ask writes a conversation up to where its next answer begins. An error is one of usage, for the template and the
// conversation do not go together.
func (a *Asker) Ask(t *example.Talk) (*Asked, error) {
	const answer = "\ue000" // of private use: it stands for an answer
	e := t.Example
	e.Messages = append(slices.Clone(e.Messages),
		example.Message{Role: example.Assistant, Content: answer, At: "the answer"})
	r := &Rendering{}
	err := example.CheckTurns(e.Messages)
	if err == nil {
		err = a.t.Write(r, &e)
	}
	if errs.Code(err) == int(errs.Usage) { // a template file's own, which names it
		return nil, err
	}
	if err != nil {
		return nil, errs.Usagef("%s %s: %w", errs.Option("template"), a.t.Name, err)
	}
	a.tell(t, e.Unread)
	if len(r.Answers) == 0 {
		return nil, errs.Usagef("%s %s: it marks no answer with {{answer}}", errs.Option("template"), a.t.Name)
	}
	s := r.Answers[len(r.Answers)-1]
	_, end, _ := strings.Cut(string(r.Text[s.Lo:s.Hi]), answer)
	return &Asked{strings.TrimSuffix(string(r.Text[:s.Lo]), " "), strings.TrimSpace(end), a.t.Name}, nil
}
