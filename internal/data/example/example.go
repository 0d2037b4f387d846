// Package example reads what instruction data says: a record, in whichever of the forms that people keep conversations
// in, becomes a conversation, with the functions that may be called and what is to be scored. A field that would change
// what is learned is refused, and what is passed over is named; docs/data.md has the rule.
package example

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"longlora/internal/data/record"
)

// The formats of records.
const (
	Text   = "text"   // a document
	Alpaca = "alpaca" // an instruction and its output
	Chat   = "chat"   // a conversation, or a question and its answer
)

// Example is what instruction data holds: a conversation, and what templates want to know of where it came from.
type Example struct {
	Messages           []Message
	Tools              []any  // the functions that may be called, as the data describes them
	ToolsAt            string // the field that they stand in
	Alpaca             bool
	Instruction, Input string   // of alpaca data
	Unread             []string // fields that were passed over
}

// entry is the object that an example is read from. It knows which of its fields were.
type entry struct {
	m     map[string]any
	names []string // all its fields, of which m has those that may be wanted
	used  []string
}

// take is a field's value.
func (r *entry) take(field string) any {
	r.used = append(r.used, field)
	return r.m[field]
}

// Read reads an object as the format says, Alpaca or Chat. names are those of all its fields, where m has only the ones
// that FieldsOf lists. An error says which field is wrong, or missing.
func Read(format string, m map[string]any, names []string) (*Example, error) {
	r := &entry{m: m, names: names}
	e := &Example{}
	var beside map[string]string
	var err error
	ask, reply, liked := firstOf(m, askFields), firstOf(m, replyFields), firstOf(m, preference)
	switch field := turnsIn(m); {
	case liked != "" && field == "":
		err = fmt.Errorf("field %q: %s", liked, noPreference)
	case format == Alpaca:
		beside = map[string]string{"context": noPlace}
		err = e.readAlpaca(r)
	case field != "":
		beside = besideTurns
		e.Messages, err = messagesOf(r.take(field), field)
	case ask != "" && reply != "":
		beside = besidePair
		err = e.readPair(r, ask, reply)
	default:
		err = fmt.Errorf("no field \"messages\" or \"conversations\", no prompt and completion, no question and answer; it "+
			"has %s", FieldList(m, names))
		for _, fields := range [][]string{replyFields, askFields} {
			if f := presentOf(m, fields); f != "" && absent(m[f]) {
				err = holdsNone(m, f)
			}
		}
		err = cmp.Or(noMessages(m), err)
	}
	for _, read := range []func() error{func() error { return e.readSystem(r) }, func() error { return e.readTools(r) },
		func() error { return e.rest(r, beside) }} {
		if err == nil {
			err = read()
		}
	}
	if err == nil {
		if err = CheckTurns(e.Messages); err != nil && liked != "" {
			err = fmt.Errorf("%w; field %q: %s", err, liked, noPreference)
		}
	}
	return e, err
}

// readAlpaca reads instruction, output and, where they are there, input and history.
func (e *Example) readAlpaca(r *entry) error {
	e.Alpaca = true
	var err error
	r.used = append(r.used, alpacaFields...)
	if e.Instruction, err = textOf(r.m, r.names, "instruction", ""); err != nil {
		return err
	}
	if r.m["input"] != nil {
		if e.Input, err = textOf(r.m, r.names, "input", ""); err != nil {
			return err
		}
	}
	if v, ok := r.m["output"]; ok && v == nil {
		return fmt.Errorf("field \"output\" is null: the example has no answer")
	}
	out, err := textOf(r.m, r.names, "output", ": the example has no answer")
	if err != nil {
		return err
	}
	if strings.TrimSpace(out) == "" {
		return fmt.Errorf("field \"output\" is empty: the example has no answer")
	}
	if e.Messages, err = historyOf(r.take("history")); err != nil {
		return err
	}
	u := Message{Role: User, Content: e.Instruction, At: "instruction"}
	if e.Input != "" {
		u.Content, u.Cut = e.Instruction+"\n"+e.Input, len(e.Instruction)
	}
	e.Messages = append(e.Messages, u, Message{Role: Assistant, Content: out, At: "output"})
	return nil
}

// readPair reads a prompt and its answer, each a text or a list of messages. Answers that stand in the prompt are not
// scored.
func (e *Example) readPair(r *entry, ask, reply string) error {
	var err error
	if e.Messages, err = historyOf(r.take("history")); err != nil {
		return err
	}
	for _, side := range []struct{ field, role string }{{ask, User}, {reply, Assistant}} {
		v := r.take(side.field)
		if s, ok := v.(string); ok {
			e.Messages = append(e.Messages, Message{Role: side.role, Content: s, At: side.field})
			continue
		}
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("field %q is %s, not a text or a list of messages", side.field, record.TypeName(v))
		}
		ms, err := messagesOf(list, side.field)
		if err != nil {
			return err
		}
		for i := range ms {
			ms[i].Silent = ms[i].Silent || side.role == User
		}
		e.Messages = append(e.Messages, ms...)
	}
	for _, f := range slices.Concat(askFields, replyFields) {
		if !absent(r.m[f]) && f != ask && f != reply {
			return fmt.Errorf("field %q: it stands beside %s and %s; write it into one of them", f, ask, reply)
		}
	}
	return nil
}

// historyOf reads the turns before an instruction: pairs of the user's and the assistant's text, or messages.
func historyOf(v any) ([]Message, error) {
	const field = "history"
	if absent(v) {
		return nil, nil
	}
	list, err := listOf(v, field)
	if err != nil {
		return nil, err
	}
	var out []Message
	for i, v := range list {
		if _, object := record.Fields(v); object && i == 0 {
			return messagesOf(list, field)
		}
		turn, ok := v.([]any)
		if !ok || len(turn) != 2 {
			return nil, fmt.Errorf("%s[%d] is no pair of the user's text and the assistant's", field, i)
		}
		for k, role := range []string{User, Assistant} {
			at := fmt.Sprintf("%s[%d][%d]", field, i, k)
			text, ok := turn[k].(string)
			if !ok {
				return nil, fmt.Errorf("%s is %s, not a string", at, record.TypeName(turn[k]))
			}
			out = append(out, Message{Role: role, Content: text, At: at})
		}
	}
	return out, nil
}

// readSystem puts a system text that stands beside the turns in front of them.
func (e *Example) readSystem(r *entry) error {
	for _, f := range systemFields {
		v := r.take(f)
		if absent(v) {
			continue
		}
		text, err := contentOf(v, fmt.Sprintf("field %q", f))
		if err != nil {
			return err
		}
		if len(e.Messages) > 0 && e.Messages[0].Role == System {
			if e.Messages[0].Content != text {
				return fmt.Errorf("field %q: the example has another system text in %s; leave one of them out", f, e.Messages[0].At)
			}
			continue
		}
		e.Messages = slices.Insert(e.Messages, 0, Message{Role: System, Content: text, At: f})
	}
	return nil
}

// rest looks at the fields that nothing read: some are refused, others named as passed over.
func (e *Example) rest(r *entry, beside map[string]string) error {
	for _, f := range verdicts {
		if v, ok := r.m[f].(bool); ok && !v {
			return fmt.Errorf("field %q is false: %s", f, noPreference)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(r.m)) {
		if slices.Contains(r.used, f) || absent(r.m[f]) {
			continue
		}
		for _, list := range []map[string]string{refused, beside} {
			if why, ok := list[f]; ok {
				return fmt.Errorf("field %q: %s", f, why)
			}
		}
		e.Unread = append(e.Unread, f)
	}
	for _, f := range r.names {
		if _, wanted := r.m[f]; !wanted {
			e.Unread = append(e.Unread, f)
		}
	}
	for _, m := range e.Messages {
		e.Unread = append(e.Unread, m.unread...)
	}
	return nil
}
