package example

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// The fields that are read, and those that are refused because they would change what is learned; docs/data.md has the
// rule. What is in neither list is passed over, which is said.
var (
	turnFields   = []string{"messages", "conversations", "conversation"}
	askFields    = []string{"prompt", "question", "query", "instruction"}
	replyFields  = []string{"completion", "answer", "response"}
	alpacaFields = []string{"instruction", "input", "output"}
	systemFields = []string{"system", "system_prompt", "system_message"}
	toolFields   = []string{"tools", "functions"}

	preference = []string{"chosen", "rejected"}
	verdicts   = []string{"kto_tag", "label"} // false where the answer is one to learn to avoid
	refused    = map[string]string{
		"image": noPictures, "images": noPictures, "video": noPictures, "videos": noPictures, "audio": noPictures,
		"audios":    noPictures,
		"loss_mask": noMask, "documents": noPlace, "chat_template_kwargs": "it steers a model's own template, which is not used; leave it out",
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

// FieldsOf are the fields that a format, or with any other name the search for one, may look at: the columns of a table
// that are wanted. textField is the one that holds a document's text.
func FieldsOf(format, textField string) []string {
	out := []string{textField}
	if format != Text {
		out = slices.Concat(out, turnFields, askFields, replyFields, alpacaFields, systemFields, toolFields, preference,
			verdicts, []string{"history"})
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

// presentOf is the first of some fields that is there, whatever it holds.
func presentOf(m map[string]any, fields []string) string {
	for _, f := range fields {
		if _, ok := m[f]; ok {
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

// Detect is the format of an object by its fields: Text, Alpaca or Chat. textField is the one that holds a document's
// text; named says that the user named it, so that it wins over the others. names are as for Read. An error says which
// fields there are, where none tells a format, or what kind of data is not trained on.
func Detect(m map[string]any, names []string, textField string, named bool) (string, error) {
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
		textField, errs.Option("text-field"), FieldList(m, names))
}

// FieldList names fields for a message: names or, where that is nil, those of m.
func FieldList(m map[string]any, names []string) string {
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
			shown[i] = Shortened(n)
		}
	}
	if len(names) > most {
		shown = append(shown, "…")
	}
	return strings.Join(shown, ", ")
}

// fieldOption says in a message which option names the field.
var fieldOption = " (" + errs.Option("text-field").String() + ")"

// DocumentText is the text of a document: the field that the text-field option names. names are those of all fields,
// where m has only some.
func DocumentText(m map[string]any, names []string, field string) (string, error) {
	return textOf(m, names, field, fieldOption)
}

// textOf is a field that must be a text.
func textOf(m map[string]any, names []string, field, hint string) (string, error) {
	v, ok := m[field]
	if !ok {
		return "", fmt.Errorf("no field %q%s; it has %s", field, hint, FieldList(m, names))
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("field %q is %s, not a string", field, record.TypeName(v))
	}
	return s, nil
}

// holdsNone says that a field that is there holds nothing.
func holdsNone(m map[string]any, field string) error {
	is := record.TypeName(m[field])
	if m[field] == "" {
		is = "an empty string"
	}
	return fmt.Errorf("field %q is %s and holds no text", field, is)
}

// Shortened is the beginning of a text, for messages, with … where it goes on.
func Shortened(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
