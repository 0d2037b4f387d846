package data

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// Formats of structured files; Auto decides by the first document.
const (
	Auto   = "auto"
	Text   = "text"
	Alpaca = "alpaca"
	Chat   = "chat"
	Tokens = "tokens"
)

// example is what instruction data holds: a conversation, and where it came from.
type example struct {
	messages           []Message
	tools              []any  // the functions that may be called, as the data describes them
	toolsAt            string // the field that they stand in
	alpaca             bool
	instruction, input string   // of alpaca data
	unread             []string // fields that were passed over
}

// The fields that are read, and those that are refused because they would change what is learned; docs/data.md has the
// rule. What is in neither list is passed over, which is said.
var (
	turnFields   = []string{"messages", "conversations", "conversation"}
	askFields    = []string{"prompt", "question", "query", "instruction"}
	replyFields  = []string{"completion", "answer", "response"}
	alpacaFields = []string{"instruction", "input", "output"}
	systemFields = []string{"system", "system_prompt", "system_message"}
	toolFields   = []string{"tools", "functions"}

	preference = []string{"chosen", "rejected", "kto_tag"}
	refused    = map[string]string{
		"image": noPictures, "images": noPictures, "video": noPictures, "videos": noPictures, "audio": noPictures,
		"audios":    noPictures,
		"documents": noPlace, "chat_template_kwargs": "it steers a model's own template, which is not used; leave it out",
	}
	besidePair = map[string]string{"context": noPlace, "input": noPlace, "choices": noPlace, "options": noPlace,
		"passage": noPlace}
	besideTurns = map[string]string{"history": "earlier turns belong into the list of messages"}
)

const (
	noPictures   = "only text is trained on; leave out the field, or the example"
	noPlace      = "a text that belongs to the prompt and has no place beside it; write it into the prompt"
	noPreference = "preference data, which is for DPO and its kin, not for this program; write the good answer as " +
		"messages, or as prompt and completion"
)

// fieldsOf are the fields that a format may look at, for a parquet file's columns.
func fieldsOf(format, textField string) []string {
	out := []string{textField}
	if format != Text {
		out = slices.Concat(out, turnFields, askFields, replyFields, alpacaFields, systemFields, toolFields, preference,
			[]string{"history", "label"})
		for _, m := range []map[string]string{refused, besidePair} {
			out = slices.AppendSeq(out, maps.Keys(m))
		}
	}
	return out
}

// absent reports whether a field holds nothing, as tables have it in rows that lack the field.
func absent(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case []any:
		return len(x) == 0
	}
	m, ok := record.Fields(v)
	return ok && len(m) == 0
}

// firstOf is the first of some fields that holds something, "" where none does.
func firstOf(m map[string]any, fields []string) string {
	for _, f := range fields {
		if !absent(m[f]) {
			return f
		}
	}
	return ""
}

// turnsIn is the field that holds a list of messages, perhaps written out as JSON; "" where none does.
func turnsIn(m map[string]any) string {
	for _, f := range turnFields {
		if list, _ := m[f].([]any); len(list) > 0 {
			return f
		}
		s, _ := m[f].(string)
		if rest, ok := strings.CutPrefix(strings.TrimSpace(s), "["); ok && strings.HasPrefix(strings.TrimSpace(rest), "{") {
			return f
		}
	}
	return ""
}

// detect is the format of an object by its fields. A text field that the user named wins over the others.
func detect(m map[string]any, names []string, textField string, named bool) (string, error) {
	has := func(f string) bool { _, ok := m[f]; return ok }
	switch {
	case named && has(textField):
		return Text, nil
	case turnsIn(m) != "":
		return Chat, nil
	case firstOf(m, preference) != "":
		return "", fmt.Errorf("field %q: %s", firstOf(m, preference), noPreference)
	case m["instruction"] != nil && has("output"):
		return Alpaca, nil
	case m[textField] != nil:
		return Text, nil
	case firstOf(m, askFields) != "" && firstOf(m, replyFields) != "":
		return Chat, nil
	case m["instruction"] != nil:
		return Alpaca, nil // whose fault is the missing answer
	case has(textField):
		return Text, nil // whose fault is that it is null
	case presentOf(m, askFields) != "" && presentOf(m, replyFields) != "":
		return Chat, nil // whose fault is that one of them is empty
	}
	if err := noMessages(m); err != nil {
		return "", err
	}
	return "", fmt.Errorf("none of the fields %q (%s), messages, conversations, instruction and output, prompt and "+
		"completion, or question and answer; it has %s",
		textField, errs.Option("text-field"), fieldList(m, names))
}

// fieldList names the fields that there are.
func fieldList(m map[string]any, names []string) string {
	if names == nil {
		names = slices.Sorted(maps.Keys(m))
	}
	const most, longest = 20, 100
	if len(names) == 0 {
		return "no fields"
	}
	shown := slices.Clone(names[:min(len(names), most)])
	for i, n := range shown {
		if len(n) > longest { // a text where a name is wanted, in a table without a head
			shown[i] = shortened(n)
		}
	}
	if len(names) > most {
		shown = append(shown, "…")
	}
	return strings.Join(shown, ", ")
}

// fieldOption says in a message which option names the field.
var fieldOption = " (" + errs.Option("text-field").String() + ")"

// textOf is a field that must be a text.
func textOf(m map[string]any, names []string, field, hint string) (string, error) {
	v, ok := m[field]
	if !ok {
		return "", fmt.Errorf("no field %q%s; it has %s", field, hint, fieldList(m, names))
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("field %q is %s, not a string", field, record.TypeName(v))
	}
	return s, nil
}

// entry is an object that an example is read from. It knows which of its fields were.
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

// exampleOf reads an object as the format says.
func exampleOf(format string, m map[string]any, names []string) (*example, error) {
	r := &entry{m: m, names: names}
	e := &example{}
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
		e.messages, err = messagesOf(r.take(field), field)
	case ask != "" && reply != "":
		beside = besidePair
		err = e.readPair(r, ask, reply)
	default:
		err = fmt.Errorf("no field \"messages\" or \"conversations\", no prompt and completion, no question and answer; it "+
			"has %s", fieldList(m, names))
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
		if err = checkTurns(e.messages); err != nil && liked != "" {
			err = fmt.Errorf("%w; field %q: %s", err, liked, noPreference)
		}
	}
	return e, err
}

// holdsNone says that a field that is there holds nothing.
func holdsNone(m map[string]any, field string) error {
	is := record.TypeName(m[field])
	if m[field] == "" {
		is = "an empty string"
	}
	return fmt.Errorf("field %q is %s and holds no text", field, is)
}

// presentOf is the first of some fields that is there, whatever it holds.
func presentOf(m map[string]any, fields []string) string {
	for _, f := range fields {
		if _, ok := m[f]; ok {
			return f
		}
	}
	return ""
}

// readAlpaca reads instruction, output and, where they are there, input and history.
func (e *example) readAlpaca(r *entry) error {
	e.alpaca = true
	var err error
	r.used = append(r.used, alpacaFields...)
	if e.instruction, err = textOf(r.m, r.names, "instruction", ""); err != nil {
		return err
	}
	if r.m["input"] != nil {
		if e.input, err = textOf(r.m, r.names, "input", ""); err != nil {
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
	if e.messages, err = historyOf(r.take("history")); err != nil {
		return err
	}
	u := Message{Role: user, Content: e.instruction, at: "instruction"}
	if e.input != "" {
		u.Content, u.cut = e.instruction+"\n"+e.input, len(e.instruction)
	}
	e.messages = append(e.messages, u, Message{Role: assistant, Content: out, at: "output"})
	return nil
}

// readPair reads a prompt and its answer, each a text or a list of messages. Answers that stand in the prompt are not
// scored.
func (e *example) readPair(r *entry, ask, reply string) error {
	var err error
	if e.messages, err = historyOf(r.take("history")); err != nil {
		return err
	}
	for _, side := range []struct{ field, role string }{{ask, user}, {reply, assistant}} {
		v := r.take(side.field)
		if s, ok := v.(string); ok {
			e.messages = append(e.messages, Message{Role: side.role, Content: s, at: side.field})
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
			ms[i].silent = ms[i].silent || side.role == user
		}
		e.messages = append(e.messages, ms...)
	}
	for _, f := range slices.Concat(askFields, replyFields) {
		if !absent(r.m[f]) && f != ask && f != reply {
			return fmt.Errorf("field %q: it stands beside %s and %s; write it into one of them", f, ask, reply)
		}
	}
	if v, ok := r.m["label"].(bool); ok && !v {
		return fmt.Errorf("field \"label\" is false: %s", noPreference)
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
		for k, role := range []string{user, assistant} {
			at := fmt.Sprintf("%s[%d][%d]", field, i, k)
			text, ok := turn[k].(string)
			if !ok {
				return nil, fmt.Errorf("%s is %s, not a string", at, record.TypeName(turn[k]))
			}
			out = append(out, Message{Role: role, Content: text, at: at})
		}
	}
	return out, nil
}

// readSystem puts a system text that stands beside the turns in front of them.
func (e *example) readSystem(r *entry) error {
	for _, f := range systemFields {
		v := r.take(f)
		if absent(v) {
			continue
		}
		text, err := contentOf(v, fmt.Sprintf("field %q", f))
		if err != nil {
			return err
		}
		if len(e.messages) > 0 && e.messages[0].Role == system {
			if e.messages[0].Content != text {
				return fmt.Errorf("field %q: the example has another system text in %s; leave one of them out", f, e.messages[0].at)
			}
			continue
		}
		e.messages = slices.Insert(e.messages, 0, Message{Role: system, Content: text, at: f})
	}
	return nil
}

// rest looks at the fields that nothing read: some are refused, others named as passed over.
func (e *example) rest(r *entry, beside map[string]string) error {
	for _, f := range slices.Sorted(maps.Keys(r.m)) {
		if slices.Contains(r.used, f) || absent(r.m[f]) {
			continue
		}
		for _, list := range []map[string]string{refused, beside} {
			if why, ok := list[f]; ok {
				return fmt.Errorf("field %q: %s", f, why)
			}
		}
		e.unread = append(e.unread, f)
	}
	for _, f := range r.names {
		if _, wanted := r.m[f]; !wanted {
			e.unread = append(e.unread, f)
		}
	}
	for _, m := range e.messages {
		e.unread = append(e.unread, m.unread...)
	}
	return nil
}
