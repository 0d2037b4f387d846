package template

import (
	"fmt"
	"strings"

	"longlora/internal/data/example"
	"longlora/internal/data/record"
)

// noTools refuses what only some templates have a place for.
func noTools(e *example.Example) error {
	const mend = "; chatml and llama3 have one"
	if len(e.Tools) > 0 {
		return fmt.Errorf("field %q: the template has no place for it%s", e.ToolsAt, mend)
	}
	for _, m := range e.Messages {
		if len(m.Calls) > 0 || m.Role == example.Tool {
			return fmt.Errorf("%s: the template has no place for a function's call or result%s", m.At, mend)
		}
	}
	return nil
}

// chatml writes each message under its role. Functions, calls and results are as in Hermes and Qwen: the functions in
// the system text, a call in <tool_call>. A result is a message of its own role, or, wrapped, the user's.
func chatml(r *Rendering, e *example.Example, wrapped bool) error {
	ms := e.Messages
	if len(e.Tools) > 0 {
		r.raw("<|im_start|>system\n")
		if ms[0].Role == example.System {
			r.prompt(ms[0].Content)
			r.raw("\n\n")
			ms = ms[1:]
		}
		r.raw("# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
			"You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n")
		for _, t := range e.Tools {
			r.raw(record.PythonJSON(t, 0) + "\n")
		}
		r.raw("</tools>\n\nFor each function call, return a json object with function name and arguments within " +
			"<tool_call></tool_call> XML tags:\n" +
			"<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n")
	}
	for i, m := range ms {
		switch {
		case m.Role == example.Tool && wrapped:
			if i == 0 || ms[i-1].Role != example.Tool {
				r.raw("<|im_start|>user")
			}
			r.raw("\n<tool_response>\n")
			r.prompt(m.Content)
			r.raw("\n</tool_response>")
			if i+1 == len(ms) || ms[i+1].Role != example.Tool {
				r.raw("<|im_end|>\n")
			}
			continue
		case m.Role == example.Assistant:
			parts := make([]string, 0, 1+len(m.Calls))
			if m.Content != "" || len(m.Calls) == 0 {
				parts = append(parts, m.Content)
			}
			for _, c := range m.Calls {
				parts = append(parts, "<tool_call>\n"+c.JSON("arguments")+"\n</tool_call>")
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
func llama3(r *Rendering, e *example.Example, result string) error {
	r.raw("<|begin_of_text|>")
	tools := e.Tools
	for _, m := range e.Messages {
		role := m.Role
		if role == example.Tool {
			role = result
		}
		r.raw("<|start_header_id|>" + role + "<|end_header_id|>\n\n")
		text := trimmed(&m)
		switch {
		case len(m.Calls) > 1 || len(m.Calls) == 1 && text != "":
			return fmt.Errorf("%s: the template has a text or one call in a message, not several; divide it, or use chatml",
				m.At)
		case len(m.Calls) == 1:
			r.answer(m, m.Calls[0].JSON("parameters"), "<|eot_id|>")
			continue
		case m.Role == example.Assistant:
			r.answer(m, text, "<|eot_id|>")
			continue
		case m.Role == example.User && len(tools) > 0:
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
			e.ToolsAt)
	}
	return nil
}
