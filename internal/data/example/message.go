package example

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
)

// Message is one turn of a conversation. Template files see Role and Content, and nothing else.
type Message struct {
	Role, Content string
	Calls         []Call   // of functions, by the assistant
	Silent        bool     // an answer that is not scored
	Exact         bool     // the text is written as it is, where a template trims
	Cut           int      // where the content's first text ends and, after one byte, its second begins; 0: it is one text
	At            string   // where it stands in the data, for messages
	unread        []string // its fields that were passed over
}

// Texts are the one or two texts of a message's content.
func (m *Message) Texts() []string {
	if m.Cut > 0 {
		return []string{m.Content[:m.Cut], m.Content[m.Cut+1:]}
	}
	return []string{m.Content}
}

// The roles: a conversation has a system text or none, then turns of the user and the assistant, and of functions.
const (
	System    = "system"
	User      = "user"
	Assistant = "assistant"
	Tool      = "tool" // what a function gave back
	calling   = "call" // the assistant's call of a function, as ShareGPT has it: a message of its own
)

// roles are the names that roles go by, in small letters and with underscores.
var roles = map[string]string{
	"system": System, "developer": System,
	"user": User, "human": User, "prompter": User,
	"assistant": Assistant, "gpt": Assistant, "bot": Assistant, "model": Assistant, "ai": Assistant, "chatgpt": Assistant,
	"chatbot": Assistant,
	"bing":    Assistant, "bard": Assistant,
	"tool": Tool, "observation": Tool, "function": Tool, "ipython": Tool, "tool_response": Tool, "tool_result": Tool,
	"function_response": Tool, "function_result": Tool,
	"function_call": calling, "tool_call": calling,
}

// What a message may have beside its role and content.
var (
	roleFields    = []string{"role", "from"}
	contentFields = []string{"content", "value"}
	scoreFields   = []string{"weight", "train", "training", "loss"}
	callFields    = []string{"tool_calls", "function_call"}

	refusedTurn = map[string]string{
		"image": noPictures, "images": noPictures, "video": noPictures, "videos": noPictures, "audio": noPictures,
		"audios":    noPictures,
		"reasoning": noThoughts, "reasoning_content": noThoughts, "thinking": noThoughts,
		"prefix":       "an answer that is begun for the model is not trained on; leave it out",
		"train_detail": "parts of a message cannot be left unscored; divide the message, or leave the field out",
		"mask":         noMask, "masked": noMask, "loss_mask": noMask,
	}
)

// noMask is said of fields that with some programs are true for what is scored, with others for what is not.
const noMask = "programs differ in whether it is true for what is scored; write train, true or false, in its place"

const noThoughts = "the template has no place for it; write it into the content as it is to be learned, or leave it out"

// listOf is a field that must be a list, or one written out as JSON, as tables without lists hold it.
func listOf(v any, field string) ([]any, error) {
	if s, ok := v.(string); ok {
		var err error
		if v, err = jsonfile.Value([]byte(s)); err != nil {
			mend := ""
			if strings.Contains(s, "{'") {
				mend = "; as Python prints a list it does not come back: write it with json.dumps"
			}
			return nil, fmt.Errorf("field %q is a string, not a list, and none in JSON either (%w)%s", field, err, mend)
		}
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("field %q is %s, not a list", field, record.TypeName(v))
	}
	return list, nil
}

// messagesOf reads a list of messages.
func messagesOf(v any, field string) ([]Message, error) {
	list, err := listOf(v, field)
	if err != nil {
		return nil, err
	}
	var out []Message
	for i, v := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		t, ok := record.Fields(v)
		if !ok {
			return nil, fmt.Errorf("%s is %s, not an object", at, record.TypeName(v))
		}
		m, err := messageOf(t, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		if m.Role == calling { // calls in a row are made at once
			m.Role = Assistant
			if n := len(out); n > 0 && out[n-1].Role == Assistant && len(out[n-1].Calls) > 0 && out[n-1].Silent == m.Silent {
				out[n-1].Calls = append(out[n-1].Calls, m.Calls...)
				continue
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// messageOf reads one message.
func messageOf(t map[string]any, at string) (Message, error) {
	m := Message{At: at}
	field := func(of []string) string {
		if f := firstOf(t, of); f != "" {
			return f
		}
		return presentOf(t, of)
	}
	role, content, made := field(roleFields), field(contentFields), firstOf(t, callFields)
	if role == "" {
		return m, fmt.Errorf("no field \"role\" or \"from\"; it has %s", FieldList(t, nil))
	}
	given, err := textOf(t, nil, role, "")
	if err != nil {
		return m, err
	}
	m.Role = roles[strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(strings.TrimSpace(given)))]
	v := t[content]
	_, isObject := record.Fields(v)
	switch {
	case m.Role == "":
		err = fmt.Errorf("%s %q is none of system, user (human), assistant (gpt, bot, model), tool (observation, function), "+
			"function_call", role, Shortened(given))
	case m.Role == calling:
		m.Calls, err = writtenCall(v)
	case m.Role == Tool && isObject:
		m.Content = record.PythonJSON(v, 0)
	case content == "" && made == "":
		err = fmt.Errorf("no field \"content\"; it has %s", FieldList(t, nil))
	case v != nil || made == "":
		m.Content, err = contentOf(v, fmt.Sprintf("field %q", content))
	}
	if err == nil && made != "" && m.Role != Assistant {
		err = fmt.Errorf("field %q: a call in a message of the %s", made, m.Role)
	}
	if err == nil && made != "" {
		m.Calls, err = callsOf(t[made], made)
	}
	if err != nil {
		return m, err
	}
	return m, m.rest(t, role, content, made)
}

// rest reads whether the message is scored and looks at the fields that nothing read.
func (m *Message) rest(t map[string]any, read ...string) error {
	field, _, _ := strings.Cut(m.At, "[")
	for _, f := range slices.Sorted(maps.Keys(t)) {
		v := t[f]
		why, bad := refusedTurn[f]
		switch {
		case absent(v) || slices.Contains(read, f):
		case slices.Contains(scoreFields, f):
			score, err := scored(f, v)
			if err != nil {
				return err
			}
			if m.Role == Assistant || m.Role == calling {
				m.Silent = m.Silent || !score
			} else if score && f != "weight" { // a weight may stand at every message
				m.unread = append(m.unread, fmt.Sprintf("%s[].%s of the %s", field, f, m.Role))
			}
		case bad:
			return fmt.Errorf("field %q: %s", f, why)
		default:
			m.unread = append(m.unread, field+"[]."+f)
		}
	}
	return nil
}

// scored reads whether a message counts: a truth value, 0 or 1.
func scored(field string, v any) (bool, error) {
	switch x := v.(type) {
	case bool:
		return x, nil
	case json.Number:
		if f, err := x.Float64(); err == nil {
			return scored(field, f)
		}
	case int32:
		return scored(field, float64(x))
	case int64:
		return scored(field, float64(x))
	case float32:
		return scored(field, float64(x))
	case float64:
		if x == 0 || x == 1 {
			return x == 1, nil
		}
	}
	return false, fmt.Errorf("field %q is %s: a message is scored (1, true) or it is not (0, false)", field,
		Shortened(record.PythonJSON(v, 0)))
}

// contentOf is a message's text: a string, or a list of parts that are all text, one after the other.
func contentOf(v any, what string) (string, error) {
	parts, ok := v.([]any)
	if !ok {
		s, ok := v.(string)
		if !ok {
			return "", fmt.Errorf("%s is %s, not a string or a list of parts", what, record.TypeName(v))
		}
		return s, nil
	}
	var b strings.Builder
	for i, v := range parts {
		p, ok := record.Fields(v)
		if s, text := v.(string); text {
			b.WriteString(s)
			continue
		}
		if !ok {
			return "", fmt.Errorf("%s: part %d is %s, not an object", what, i, record.TypeName(v))
		}
		text, isText := p["text"].(string)
		if kind, _ := p["type"].(string); !isText || kind != "" && kind != "text" && kind != "input_text" &&
			kind != "output_text" {
			return "", fmt.Errorf("%s: part %d is of the type %q: %s", what, i, kind, noPictures)
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// CheckTurns is what is wrong with the order of a conversation's messages: it refuses two messages of one role in a
// row, but for results of calls, and a conversation without an answer.
func CheckTurns(ms []Message) error {
	answered, silent := false, false
	for i, m := range ms {
		if i > 0 && m.Role == ms[i-1].Role && m.Role != Tool {
			return fmt.Errorf("%s: two messages of the %s in a row; join them", m.At, m.Role)
		}
		if m.Role == Assistant && (strings.TrimSpace(m.Content) != "" || len(m.Calls) > 0) {
			answered, silent = answered || !m.Silent, silent || m.Silent
		}
	}
	switch {
	case answered:
		return nil
	case silent:
		return fmt.Errorf("no answer of the assistant that is scored: each has weight 0, or train false, or stands in the " +
			"prompt")
	case len(ms) == 0:
		return fmt.Errorf("no messages")
	}
	field, _, _ := strings.Cut(ms[0].At, "[")
	return fmt.Errorf("field %q: no answer of the assistant", field)
}

// noMessages says what a field holds that should hold a list of messages; nil where no such field is there.
func noMessages(m map[string]any) error {
	f := presentOf(m, turnFields)
	switch list, ok := m[f].([]any); {
	case f == "":
		return nil
	case ok && len(list) == 0:
		return fmt.Errorf("field %q is an empty list, and one of messages is wanted", f)
	}
	return fmt.Errorf("field %q is %s, not a list of messages", f, record.TypeName(m[f]))
}
