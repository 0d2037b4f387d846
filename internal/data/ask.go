package data

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// Asked is a conversation in a template, up to where the next answer begins.
type Asked struct {
	Prompt   string
	End      string // what ends an answer, a token's text or another; "" for nothing
	Template string
}

// Asker writes conversations in a template for a model to answer.
type Asker struct {
	t    *template
	said map[string]bool // notes that the log has
	log  io.Writer
}

// NewAsker opens a template. name and chat are as for --template: a name, auto (by the marks in chat, the model's own
// template), or a file. What is to be said goes to log, once.
func NewAsker(name, chat string, own OwnSystem, enc Encoder, log io.Writer) (*Asker, error) {
	t, err := openTemplate(name, chat, enc)
	if err == nil {
		err = t.addOwn(own, chat, enc)
	}
	if err != nil {
		return nil, err
	}
	a := &Asker{t: t, said: map[string]bool{}, log: log}
	of, model := t.notes("the prompt is written", chat, enc)
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

// Talk is a conversation whose last message is not yet answered.
type Talk struct {
	Where string // its file and line, for messages; "" for one that is typed
	e     example
}

// Say adds a message of the user's.
func (t *Talk) Say(text string) {
	t.e.alpaca = len(t.e.messages) == 0 || len(t.e.messages) == 1 && t.HasSystem()
	t.e.instruction = text
	t.e.messages = append(t.e.messages, Message{Role: user, Content: text, at: "the prompt"})
}

// Answer adds the answer to the last message.
func (t *Talk) Answer(text string) {
	t.e.messages = append(t.e.messages, Message{Role: assistant, Content: text, at: "the answer before"})
}

// System puts a system text before the first message.
func (t *Talk) System(text string) {
	t.e.messages = slices.Insert(t.e.messages, 0, Message{Role: system, Content: text, at: errs.Option("system").String()})
}

// HasSystem reports whether the conversation begins with a system text.
func (t *Talk) HasSystem() bool { return len(t.e.messages) > 0 && t.e.messages[0].Role == system }

// ReadTalk reads a conversation from a line of JSON: an object as training data has it, with the last answer missing.
func ReadTalk(line []byte) (*Talk, error) {
	v, err := jsonfile.Value(line)
	if err != nil {
		return nil, err
	}
	m, ok := record.Fields(v)
	if !ok {
		return nil, fmt.Errorf("%s where an object with messages is wanted", record.TypeName(v))
	}
	r, e := &entry{m: m}, &example{}
	switch field, ask := turnsIn(m), firstOf(m, askFields); {
	case field != "":
		e.messages, err = messagesOf(r.take(field), field)
	case ask != "":
		var text string
		if text, err = textOf(m, nil, ask, ""); err == nil {
			r.used = append(r.used, ask)
			e.alpaca, e.instruction = true, text
			e.messages = []Message{{Role: user, Content: text, at: ask}}
		}
	case presentOf(m, askFields) != "" && presentOf(m, turnFields) == "":
		err = holdsNone(m, presentOf(m, askFields))
	default:
		err = cmp.Or(noMessages(m), fmt.Errorf("no field \"messages\", \"conversations\", \"prompt\" or \"question\"; it "+
			"has %s", fieldList(m, nil)))
	}
	for _, read := range []func() error{func() error { return e.readSystem(r) }, func() error { return e.readTools(r) },
		func() error { return e.rest(r, besideTurns) }} {
		if err == nil {
			err = read()
		}
	}
	if err != nil {
		return nil, err
	}
	if last := e.messages[len(e.messages)-1]; last.Role == assistant || last.Role == system {
		return nil, fmt.Errorf("%s: the last message is of the %s; one that can be answered is wanted", last.at, last.Role)
	}
	return &Talk{e: *e}, nil
}

// Ask writes a conversation up to where its next answer begins.
func (a *Asker) Ask(t *Talk) (*Asked, error) {
	const answer = "\ue000" // of private use: it stands for an answer
	e := t.e
	e.messages = append(slices.Clone(e.messages), Message{Role: assistant, Content: answer, at: "the answer"})
	r := &rendering{}
	err := checkTurns(e.messages)
	if err == nil {
		err = a.t.write(r, &e)
	}
	if err != nil {
		return nil, errs.Usagef("%s %s: %w", errs.Option("template"), a.t.name, err)
	}
	a.note(e.unread)
	if len(r.answers) == 0 {
		return nil, errs.Usagef("%s %s: it marks no answer with {{answer}}", errs.Option("template"), a.t.name)
	}
	s := r.answers[len(r.answers)-1]
	_, end, _ := strings.Cut(string(r.b[s.lo:s.hi]), answer)
	return &Asked{strings.TrimSuffix(string(r.b[:s.lo]), " "), strings.TrimSpace(end), a.t.name}, nil
}
