package example

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
)

// Call is a function that the assistant calls, with what it gives it.
type Call struct {
	name string
	args any
	text string // the whole call as the data has it, where it is written out
}

// WritesNull reports whether a row's functions or calls, where they are lists and objects of the table and not JSON in
// a text, hold a null, which templates write out.
func WritesNull(row map[string]any) bool {
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

// WrittenOut reports whether an object holds tools or calls, whose fields templates write out in the data's order: it
// is then to be read again with that order.
func WrittenOut(m map[string]any) bool {
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
func (e *Example) readTools(r *entry) error {
	for _, f := range toolFields {
		v := r.take(f)
		if absent(v) {
			continue
		}
		if len(e.Tools) > 0 {
			return fmt.Errorf("field %q: the example has tools already; leave one of the lists out", f)
		}
		e.ToolsAt = f
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
			e.Tools = append(e.Tools, t)
		}
	}
	return nil
}

// callsOf reads OpenAI's tool_calls, a list of calls, or its older function_call, one.
func callsOf(v any, field string) ([]Call, error) {
	if _, one := record.Fields(v); one {
		v = []any{v}
	}
	list, err := listOf(v, field)
	if err != nil {
		return nil, err
	}
	out := make([]Call, len(list))
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
		out[i] = Call{name: name, args: args}
	}
	return out, nil
}

// writtenCall is a call that is the content of a message, as ShareGPT has it: it stands as it is.
func writtenCall(v any) ([]Call, error) {
	if _, ok := record.Fields(v); ok {
		return []Call{{text: record.PythonJSON(v, 0)}}, nil
	}
	s, err := contentOf(v, "the call")
	if err == nil && strings.TrimSpace(s) == "" {
		err = fmt.Errorf("the call is empty")
	}
	return []Call{{text: strings.TrimSpace(s)}}, err
}

// JSON writes a call as an object of its name and what it is called with, under the name that a template has for it.
func (c Call) JSON(args string) string {
	if c.text != "" {
		return c.text
	}
	return `{"name": ` + record.PythonJSON(c.name, 0) + `, "` + args + `": ` + record.PythonJSON(c.args, 0) + `}`
}
