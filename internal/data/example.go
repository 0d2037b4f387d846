package data

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Formats of structured files; Auto decides by the first document.
const (
	Auto   = "auto"
	Text   = "text"
	Alpaca = "alpaca"
	Chat   = "chat"
	Tokens = "tokens"
)

// Message is one turn of a conversation.
type Message struct{ Role, Content string }

// The roles.
const (
	system    = "system"
	user      = "user"
	assistant = "assistant"
)

// example is what instruction data holds: a conversation, and where it came from.
type example struct {
	messages           []Message
	alpaca             bool
	instruction, input string // of alpaca data
}

// fieldsOf are the fields that a format reads, for a parquet file's columns.
func fieldsOf(format, textField string) []string {
	switch format {
	case Text:
		return []string{textField}
	case Alpaca:
		return []string{"instruction", "input", "output"}
	case Chat:
		return []string{"messages", "conversations"}
	}
	return []string{textField, "instruction", "input", "output", "messages", "conversations"}
}

// detect is the format of an object by its fields. A text field that the user named wins over the others.
func detect(m map[string]any, names []string, textField string, named bool) (string, error) {
	has := func(f string) bool { _, ok := m[f]; return ok }
	switch {
	case named && has(textField):
		return Text, nil
	case has("messages") || has("conversations"):
		return Chat, nil
	case has("instruction") && has("output"):
		return Alpaca, nil
	case has(textField):
		return Text, nil
	case has("instruction"):
		return Alpaca, nil // whose fault is the missing answer
	}
	return "", fmt.Errorf("none of the fields %q (--text-field), messages, conversations, or instruction and output; it has %s", textField, fieldList(m, names))
}

// fieldList names the fields that there are.
func fieldList(m map[string]any, names []string) string {
	if names == nil {
		names = slices.Sorted(maps.Keys(m))
	}
	const most = 20
	if len(names) == 0 {
		return "no fields"
	}
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// textOf is a field that must be a text.
func textOf(m map[string]any, names []string, field, hint string) (string, error) {
	v, ok := m[field]
	if !ok {
		return "", fmt.Errorf("no field %q%s; it has %s", field, hint, fieldList(m, names))
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("field %q is %s, not a string", field, typeName(v))
	}
	return s, nil
}

// exampleOf reads an object as the format says.
func exampleOf(format string, m map[string]any, names []string) (*example, error) {
	if format == Alpaca {
		return alpacaOf(m, names)
	}
	return chatOf(m, names)
}

// alpacaOf reads instruction, output and, where there is one, input.
func alpacaOf(m map[string]any, names []string) (*example, error) {
	e := &example{alpaca: true}
	var err error
	if e.instruction, err = textOf(m, names, "instruction", ""); err != nil {
		return nil, err
	}
	if v, ok := m["input"]; ok && v != nil {
		if e.input, err = textOf(m, names, "input", ""); err != nil {
			return nil, err
		}
	}
	if v, ok := m["output"]; ok && v == nil {
		return nil, fmt.Errorf("field \"output\" is null: the example has no answer")
	}
	out, err := textOf(m, names, "output", ": the example has no answer")
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(out) == "" {
		return nil, fmt.Errorf("field \"output\" is empty: the example has no answer")
	}
	u := e.instruction
	if e.input != "" {
		u += "\n" + e.input
	}
	e.messages = []Message{{user, u}, {assistant, out}}
	return e, nil
}

// roles are the names that roles go by.
var roles = map[string]string{"system": system, "user": user, "human": user, "assistant": assistant, "gpt": assistant}

// chatOf reads messages (role, content) or ShareGPT's conversations (from, value).
func chatOf(m map[string]any, names []string) (*example, error) {
	field, role, content := "messages", "role", "content"
	if _, ok := m[field]; !ok {
		field, role, content = "conversations", "from", "value"
	}
	v, ok := m[field]
	if !ok {
		return nil, fmt.Errorf("no field \"messages\" or \"conversations\"; it has %s", fieldList(m, names))
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("field %q is %s, not a list", field, typeName(v))
	}
	e := &example{}
	for i, v := range list {
		t, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s[%d] is %s, not an object", field, i, typeName(v))
		}
		r, err := textOf(t, nil, role, "")
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		name, ok := roles[r]
		if !ok {
			return nil, fmt.Errorf("%s[%d]: %s %q is none of system, user (human), assistant (gpt)", field, i, role, r)
		}
		text, err := textOf(t, nil, content, "")
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		e.messages = append(e.messages, Message{name, text})
	}
	return e, checkTurns(e.messages, field)
}

// checkTurns refuses two messages of one role in a row, and a conversation without an answer.
func checkTurns(ms []Message, field string) error {
	answered := false
	for i, m := range ms {
		if i > 0 && m.Role == ms[i-1].Role {
			return fmt.Errorf("%s[%d]: two messages of the %s in a row; join them", field, i, m.Role)
		}
		answered = answered || m.Role == assistant && strings.TrimSpace(m.Content) != ""
	}
	if !answered {
		return fmt.Errorf("field %q: no answer of the assistant", field)
	}
	return nil
}
