package data

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
)

// Message is one turn of a conversation. Template files see Role and Content.
type Message struct {
	Role, Content string
	calls         []call   // of the assistant
	silent        bool     // an answer that is not scored
	exact         bool     // the text is written as it is, where a template trims
	cut           int      // where the content's first text ends and, after one byte, its second begins; 0: it is one text
	at            string   // where it stands in the data
	unread        []string // its fields that were passed over
}

// trimmed is the content as templates that trim write it.
func (m *Message) trimmed() string {
	if m.exact {
		return m.Content
	}
	return strip(m.Content)
}

// texts are the one or two texts of a message's content.
func (m *Message) texts() []string {
	if m.cut > 0 {
		return []string{m.Content[:m.cut], m.Content[m.cut+1:]}
	}
	return []string{m.Content}
}

// The roles.
const (
	system    = "system"
	user      = "user"
	assistant = "assistant"
	tool      = "tool" // what a function gave back
	calling   = "call" // the assistant's call of a function, as ShareGPT has it: a message of its own
)

// roles are the names that roles go by, in small letters and with underscores.
var roles = map[string]string{
	"system": system, "developer": system,
	"user": user, "human": user, "prompter": user,
	"assistant": assistant, "gpt": assistant, "bot": assistant, "model": assistant, "ai": assistant, "chatgpt": assistant,
	"chatbot": assistant,
	"bing":    assistant, "bard": assistant,
	"tool": tool, "observation": tool, "function": tool, "ipython": tool, "tool_response": tool, "tool_result": tool,
	"function_response": tool, "function_result": tool,
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
	}
)

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
			m.Role = assistant
			if n := len(out); n > 0 && out[n-1].Role == assistant && len(out[n-1].calls) > 0 && out[n-1].silent == m.silent {
				out[n-1].calls = append(out[n-1].calls, m.calls...)
				continue
			}
		}
		out = append(out, m)
	}
	return out, nil
}

// messageOf reads one message.
func messageOf(t map[string]any, at string) (Message, error) {
	m := Message{at: at}
	field := func(of []string) string {
		if f := firstOf(t, of); f != "" {
			return f
		}
		return presentOf(t, of)
	}
	role, content, made := field(roleFields), field(contentFields), firstOf(t, callFields)
	if role == "" {
		return m, fmt.Errorf("no field \"role\" or \"from\"; it has %s", fieldList(t, nil))
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
			"function_call", role, shortened(given))
	case m.Role == calling:
		m.calls, err = writtenCall(v)
	case m.Role == tool && isObject:
		m.Content = record.PythonJSON(v, 0)
	case content == "" && made == "":
		err = fmt.Errorf("no field \"content\"; it has %s", fieldList(t, nil))
	case v != nil || made == "":
		m.Content, err = contentOf(v, fmt.Sprintf("field %q", content))
	}
	if err == nil && made != "" && m.Role != assistant {
		err = fmt.Errorf("field %q: a call in a message of the %s", made, m.Role)
	}
	if err == nil && made != "" {
		m.calls, err = callsOf(t[made], made)
	}
	if err != nil {
		return m, err
	}
	return m, m.rest(t, role, content, made)
}

// rest reads whether the message is scored and looks at the fields that nothing read.
func (m *Message) rest(t map[string]any, read ...string) error {
	field, _, _ := strings.Cut(m.at, "[")
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
			if m.Role == assistant || m.Role == calling {
				m.silent = m.silent || !score
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
		shortened(record.PythonJSON(v, 0)))
}

// shortened is the beginning of a text, for messages.
func shortened(s string) string {
	const most = 40
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
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

// checkTurns refuses two messages of one role in a row, but for results of calls, and a conversation without an answer.
func checkTurns(ms []Message) error {
	answered, silent := false, false
	for i, m := range ms {
		if i > 0 && m.Role == ms[i-1].Role && m.Role != tool {
			return fmt.Errorf("%s: two messages of the %s in a row; join them", m.at, m.Role)
		}
		if m.Role == assistant && (strings.TrimSpace(m.Content) != "" || len(m.calls) > 0) {
			answered, silent = answered || !m.silent, silent || m.silent
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
	field, _, _ := strings.Cut(ms[0].at, "[")
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
