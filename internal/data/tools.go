package data

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
)

// call is a function that the assistant calls.
type call struct {
	name string
	args any
	text string // the whole call as the data has it, where it is written out
}

// writesNull reports whether a row's functions or calls, lists and objects of the table, hold a null that is written.
func writesNull(row map[string]any) bool {
	if slices.ContainsFunc(toolFields, func(f string) bool { return holdsNull(row[f]) }) {
		return true
	}
	turns, _ := row[turnsIn(row)].([]any)
	for _, v := range turns {
		m, _ := record.Fields(v)
		for _, f := range callFields {
			calls, many := m[f].([]any)
			if !many {
				calls = []any{m[f]}
			}
			for _, c := range calls {
				t, _ := record.Fields(c)
				if of, nested := record.Fields(t["function"]); nested {
					t = of
				}
				if holdsNull(t["arguments"]) {
					return true
				}
			}
		}
	}
	return false
}

func holdsNull(v any) bool {
	if list, ok := v.([]any); ok {
		return slices.ContainsFunc(list, func(v any) bool { return v == nil || holdsNull(v) })
	}
	m, _ := record.Fields(v)
	for _, v := range m {
		if v == nil || holdsNull(v) {
			return true
		}
	}
	return false
}

// writtenOut reports whether an object holds tools or calls, whose fields are written out in the data's order.
func writtenOut(m map[string]any) bool {
	if firstOf(m, toolFields) != "" {
		return true
	}
	for _, fields := range [][]string{turnFields, askFields, replyFields, {"history"}} {
		for _, f := range fields {
			list, _ := m[f].([]any)
			for _, v := range list {
				t, _ := record.Fields(v)
				_, made := record.Fields(t["value"])
				_, given := record.Fields(t["content"])
				if made || given || firstOf(t, callFields) != "" {
					return true
				}
			}
		}
	}
	return false
}

// readTools reads the functions that may be called: a list, or one written out as JSON.
func (e *example) readTools(r *entry) error {
	for _, f := range toolFields {
		v := r.take(f)
		if absent(v) {
			continue
		}
		if len(e.tools) > 0 {
			return fmt.Errorf("field %q: the example has tools already; leave one of the lists out", f)
		}
		e.toolsAt = f
		var err error
		if s, ok := v.(string); ok {
			if v, err = jsonfile.Value([]byte(s)); err != nil {
				return fmt.Errorf("field %q: a string that is not JSON: %w", f, err)
			}
		}
		if _, one := record.Fields(v); one {
			v = []any{v}
		}
		list, ok := v.([]any)
		if !ok {
			return fmt.Errorf("field %q is %s, not a list of functions", f, record.TypeName(v))
		}
		for i, t := range list {
			if s, ok := t.(string); ok {
				if t, err = jsonfile.Value([]byte(s)); err != nil {
					return fmt.Errorf("%s[%d]: a string that is not JSON: %w", f, i, err)
				}
			}
			if _, ok := record.Fields(t); !ok {
				return fmt.Errorf("%s[%d] is %s, not an object", f, i, record.TypeName(t))
			}
			e.tools = append(e.tools, t)
		}
	}
	return nil
}

// callsOf reads OpenAI's tool_calls, a list of calls, or its older function_call, one.
func callsOf(v any, field string) ([]call, error) {
	if _, one := record.Fields(v); one {
		v = []any{v}
	}
	list, err := listOf(v, field)
	if err != nil {
		return nil, err
	}
	out := make([]call, len(list))
	for i, v := range list {
		t, ok := record.Fields(v)
		if f, nested := record.Fields(t["function"]); nested {
			t = f
		}
		name, _ := t["name"].(string)
		if !ok || name == "" {
			return nil, fmt.Errorf("%s[%d] has no function's name", field, i)
		}
		args := t["arguments"]
		if s, ok := args.(string); ok && strings.TrimSpace(s) != "" {
			if args, err = jsonfile.Value([]byte(s)); err != nil {
				return nil, fmt.Errorf("%s[%d]: arguments that are not JSON: %w", field, i, err)
			}
		}
		if absent(args) {
			args = map[string]any{}
		}
		out[i] = call{name: name, args: args}
	}
	return out, nil
}

// writtenCall is a call that is the content of a message, as ShareGPT has it: it stands as it is.
func writtenCall(v any) ([]call, error) {
	if _, ok := record.Fields(v); ok {
		return []call{{text: record.PythonJSON(v, 0)}}, nil
	}
	s, err := contentOf(v, "the call")
	if err == nil && strings.TrimSpace(s) == "" {
		err = fmt.Errorf("the call is empty")
	}
	return []call{{text: strings.TrimSpace(s)}}, err
}

// json writes a call as an object of its name and what it is called with, under the name that a template has for it.
func (c call) json(args string) string {
	if c.text != "" {
		return c.text
	}
	return `{"name": ` + record.PythonJSON(c.name, 0) + `, "` + args + `": ` + record.PythonJSON(c.args, 0) + `}`
}

// noTools refuses what only some templates have a place for.
func noTools(e *example) error {
	const mend = "; chatml and llama3 have one"
	if len(e.tools) > 0 {
		return fmt.Errorf("field %q: the template has no place for it%s", e.toolsAt, mend)
	}
	for _, m := range e.messages {
		if len(m.calls) > 0 || m.Role == tool {
			return fmt.Errorf("%s: the template has no place for a function's call or result%s", m.at, mend)
		}
	}
	return nil
}

// chatml writes each message under its role. Functions, calls and results are as in Hermes and Qwen: the functions in
// the system text, a call in <tool_call>. A result is a message of its own role, or, wrapped, the user's.
func chatml(r *rendering, e *example, wrapped bool) error {
	ms := e.messages
	if len(e.tools) > 0 {
		r.raw("<|im_start|>system\n")
		if ms[0].Role == system {
			r.prompt(ms[0].Content)
			r.raw("\n\n")
			ms = ms[1:]
		}
		r.raw("# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
			"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n")
		for _, t := range e.tools {
			r.raw(record.PythonJSON(t, 0) + "\n")
		}
		r.raw("</tools>\n\nFor each function call, return a json object with function name and arguments within " +
			"<tool_call></tool_call> XML tags:\n" +
			"<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n")
	}
	for i, m := range ms {
		switch {
		case m.Role == tool && wrapped:
			if i == 0 || ms[i-1].Role != tool {
				r.raw("<|im_start|>user")
			}
			r.raw("\n<tool_response>\n")
			r.prompt(m.Content)
			r.raw("\n</tool_response>")
			if i+1 == len(ms) || ms[i+1].Role != tool {
				r.raw("<|im_end|>\n")
			}
			continue
		case m.Role == assistant:
			parts := make([]string, 0, 1+len(m.calls))
			if m.Content != "" || len(m.calls) == 0 {
				parts = append(parts, m.Content)
			}
			for _, c := range m.calls {
				parts = append(parts, "<tool_call>\n"+c.json("arguments")+"\n</tool_call>")
			}
			r.raw("<|im_start|>assistant\n")
			r.answer(m, strings.Join(parts, "\n"), "<|im_end|>")
		default:
			r.raw("<|im_start|>" + m.Role + "\n")
			r.user(m, m.Content)
			r.raw("<|im_end|>")
		}
		r.raw("\n")
	}
	return nil
}

// llama3 writes each message under its role. Functions, calls and results are as in LLaMA 3.1: the functions in the
// first message of the user, one call as a message of its own, a result under the role that is given.
func llama3(r *rendering, e *example, result string) error {
	r.raw("<|begin_of_text|>")
	tools := e.tools
	for _, m := range e.messages {
		role := m.Role
		if role == tool {
			role = result
		}
		r.raw("<|start_header_id|>" + role + "<|end_header_id|>\n\n")
		text := m.trimmed()
		switch {
		case len(m.calls) > 1 || len(m.calls) == 1 && text != "":
			return fmt.Errorf("%s: the template has a text or one call in a message, not several; divide it, or use chatml",
				m.at)
		case len(m.calls) == 1:
			r.answer(m, m.calls[0].json("parameters"), "<|eot_id|>")
			continue
		case m.Role == assistant:
			r.answer(m, text, "<|eot_id|>")
			continue
		case m.Role == user && len(tools) > 0:
			r.raw("Given the following functions, please respond with a JSON for a function call with its proper arguments " +
				"that best answers the given prompt.\n\n" +
				"Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}.Do " +
				"not use variables.\n\n")
			for _, t := range tools {
				r.raw(record.PythonJSON(t, 4) + "\n\n")
			}
			tools = nil
		}
		r.user(m, text)
		r.raw("<|eot_id|>")
	}
	if len(tools) > 0 {
		return fmt.Errorf("field %q: the template writes it with the first message of the user, of which there is none",
			e.toolsAt)
	}
	return nil
}
