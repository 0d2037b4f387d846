package example

import (
	"cmp"
	"fmt"
	"slices"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// Talk is a conversation whose last message is not yet answered.
type Talk struct {
	Where    string // its file and line, for messages; "" for one that is typed
	Example  Example
	Replaced string // a note where something in its line was no UTF-8, for who reads the line to set
}

// Say adds a message of the user's.
func (t *Talk) Say(text string) {
	t.Example.Alpaca = len(t.Example.Messages) == 0 || len(t.Example.Messages) == 1 && t.HasSystem()
	t.Example.Instruction = text
	t.Example.Messages = append(t.Example.Messages, Message{Role: User, Content: text, At: "the prompt"})
}

// Answer adds the answer to the last message.
func (t *Talk) Answer(text string) {
	t.Example.Messages = append(t.Example.Messages, Message{Role: Assistant, Content: text, At: "the answer before"})
}

// System puts a system text before the first message.
func (t *Talk) System(text string) {
	first := Message{Role: System, Content: text, At: errs.Option("system").String()}
	t.Example.Messages = slices.Insert(t.Example.Messages, 0, first)
}

// HasSystem reports whether the conversation begins with a system text.
func (t *Talk) HasSystem() bool {
	return len(t.Example.Messages) > 0 && t.Example.Messages[0].Role == System
}

// ReadTalk reads a conversation from a line of JSON: an object as training data has it, with the last answer missing.
// An error says which field is wrong, or that the last message is none that can be answered.
func ReadTalk(line []byte) (*Talk, error) {
	v, err := jsonfile.Value(line)
	if err != nil {
		return nil, err
	}
	m, ok := record.Fields(v)
	if !ok {
		return nil, fmt.Errorf("%s where an object with messages is wanted", record.TypeName(v))
	}
	r, e := &entry{m: m}, &Example{}
	switch field, ask := turnsIn(m), firstOf(m, askFields); {
	case field != "":
		e.Messages, err = messagesOf(r.take(field), field)
	case ask != "":
		var text string
		if text, err = textOf(m, nil, ask, ""); err == nil {
			r.used = append(r.used, ask)
			e.Alpaca, e.Instruction = true, text
			e.Messages = []Message{{Role: User, Content: text, At: ask}}
		}
	case presentOf(m, askFields) != "" && presentOf(m, turnFields) == "":
		err = holdsNone(m, presentOf(m, askFields))
	default:
		err = cmp.Or(noMessages(m), fmt.Errorf("no field \"messages\", \"conversations\", \"prompt\" or \"question\"; it "+
			"has %s", FieldList(m, nil)))
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
	if last := e.Messages[len(e.Messages)-1]; last.Role == Assistant || last.Role == System {
		return nil, fmt.Errorf("%s: the last message is of the %s; one that can be answered is wanted", last.At, last.Role)
	}
	return &Talk{Example: *e}, nil
}
