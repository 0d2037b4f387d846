package example_test

import (
	"strings"
	"testing"

	"longlora/internal/data/example"
	"longlora/internal/data/jsonfile"
	"longlora/internal/data/template"
)

// marks is a tokenizer that has all tokens, BOS 1 and EOS 2.
type marks struct{}

func (marks) BOS() (int32, bool)                 { return 1, true }
func (marks) EOS() (int32, bool)                 { return 2, true }
func (marks) ID(string) (int32, bool)            { return 0, true }
func (marks) Decode(ids []int32) (string, error) { return []string{"", "<s>", "</s>"}[ids[0]], nil }

// scoredParts is a rendering with its scored parts in ⟦⟧.
func scoredParts(r *template.Rendering) string {
	var b strings.Builder
	at := 0
	for _, a := range r.Answers {
		b.WriteString(string(r.Text[at:a.Lo]) + "⟦" + string(r.Text[a.Lo:a.Hi]) + "⟧")
		at = a.Hi
	}
	b.Write(r.Text[at:])
	return b.String()
}

// rendered is what a line becomes in a template, scored parts in ⟦⟧, and the fields that were passed over.
func rendered(form, own, line string) (string, []string, error) {
	m, _, err := jsonfile.Decode([]byte(line), func(string) bool { return true })
	if err != nil {
		return "", nil, err
	}
	format, err := example.Detect(m, nil, "text", false)
	if err != nil || format == example.Text {
		return format, nil, err
	}
	if example.WrittenOut(m) {
		if m, err = jsonfile.DecodeInOrder([]byte(line)); err != nil {
			return "", nil, err
		}
	}
	e, err := example.Read(format, m, nil)
	if err != nil {
		return "", nil, err
	}
	tm, err := template.Open(form, own, template.OwnSystem{}, marks{})
	if err != nil {
		return "", nil, err
	}
	var r template.Rendering
	err = tm.Write(&r, e)
	return scoredParts(&r), e.Unread, err
}

const (
	sys = "<|im_start|>system\nS<|im_end|>\n"
	ask = "<|im_start|>user\nq<|im_end|>\n"
	ans = "<|im_start|>assistant\n⟦a<|im_end|>⟧\n"
	two = `{"role":"user","content":"q"},{"role":"assistant","content":"a"}`
)

// Every form in which people keep conversations gives the conversation.
func TestChatShapes(t *testing.T) {
	weather := "<|im_start|>assistant\n⟦<tool_call>\n{\"name\": \"f\", \"arguments\": {\"z\": 1, \"a\": 1.0}}\n</tool_call><|im_end|>⟧\n"
	for line, want := range map[string]string{
		`{"messages":[` + two + `]}`:                                                                                                ask + ans,
		`{"messages":null,"conversations":[` + two + `]}`:                                                                           ask + ans,
		`{"text":null,"messages":[` + two + `]}`:                                                                                    ask + ans,
		`{"instruction":null,"output":null,"messages":[` + two + `]}`:                                                               ask + ans,
		`{"prompt":"q","completion":"a","messages":[]}`:                                                                             ask + ans,
		`{"conversation":[` + two + `]}`:                                                                                            ask + ans,
		`{"messages":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}`:                                                    ask + ans,
		`{"conversations":[{"from":"user","content":"q"},{"role":"bot","value":"a"}]}`:                                              ask + ans,
		`{"conversations":[{"from":"Human","value":"q"},{"from":"Assistant ","value":"a"}]}`:                                        ask + ans,
		`{"messages":[{"role":"prompter","content":"q"},{"role":"model","content":"a"}]}`:                                           ask + ans,
		`{"messages":[{"role":"human","content":"q"},{"role":"ai","content":"a"}]}`:                                                 ask + ans,
		`{"messages":[{"role":"developer","content":"S"},` + two + `]}`:                                                             sys + ask + ans,
		`{"messages":"[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"a\"}]"}`:                         ask + ans,
		`{"messages":[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":"a"}]}`:                  ask + ans,
		`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"text","text":"a"},{"text":"b"},"c"]}]}`: ask + strings.Replace(ans, "a<", "abc<", 1),
		`{"messages":[` + two + `],"system":"S"}`:                                                                                   sys + ask + ans,
		`{"messages":[` + two + `],"system_prompt":"S","system":""}`:                                                                sys + ask + ans,
		`{"messages":[{"role":"system","content":"S"},` + two + `],"system":"S"}`:                                                   sys + ask + ans,
		`{"conversations":[` + two + `],"system":[{"type":"text","text":"S"}]}`:                                                     sys + ask + ans,
		`{"prompt":"q","completion":"a"}`:                                                                                           ask + ans,
		`{"prompt":"q","response":"a","system":"S"}`:                                                                                sys + ask + ans,
		`{"question":"q","answer":"a","id":3}`:                                                                                      ask + ans,
		`{"system_prompt":"S","question":"q","response":"a"}`:                                                                       sys + ask + ans,
		`{"query":"q","response":"a"}`:                                                                                              ask + ans,
		`{"instruction":"q","response":"a","context":""}`:                                                                           ask + ans,
		`{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}`:                              ask + ans,
		`{"prompt":[{"role":"system","content":"S"},{"role":"user","content":"q"}],"completion":"a"}`:                               sys + ask + ans,
		`{"prompt":"q","completion":[{"role":"assistant","content":"a"}]}`:                                                          ask + ans,
		`{"prompt":[` + strings.ReplaceAll(two, `"a"`, `"no"`) + `,{"role":"user","content":"q"}],"completion":"a"}`:                ask + "<|im_start|>assistant\nno<|im_end|>\n" + ask + ans,
		`{"prompt":"q","completion":"a","history":[["q","a"]]}`:                                                                     ask + ans + ask + ans,
		`{"instruction":"q","output":"a","history":[["q","a"],["q","a"]],"system":"S"}`:                                             sys + ask + ans + ask + ans + ask + ans,
		`{"instruction":"q","output":"a","history":[` + two + `]}`:                                                                  ask + ans + ask + ans,
		`{"instruction":"q","input":"","output":"a","history":"[]","system":""}`:                                                    ask + ans,
		`{"instruction":"q","input":"i","output":"a","history":null,"system":null}`:                                                 strings.Replace(ask, "q", "q\ni", 1) + ans,

		// not scored
		`{"messages":[` + strings.ReplaceAll(two, `"a"`, `"no","weight":0`) + `,` + two + `]}`:                               ask + "<|im_start|>assistant\nno<|im_end|>\n" + ask + ans,
		`{"messages":[` + strings.ReplaceAll(two, `"a"`, `"no","weight":0.0`) + `,` + two + `]}`:                             ask + "<|im_start|>assistant\nno<|im_end|>\n" + ask + ans,
		`{"messages":[` + strings.ReplaceAll(two, `"a"`, `"no","train":false,"weight":null`) + `,` + two + `]}`:              ask + "<|im_start|>assistant\nno<|im_end|>\n" + ask + ans,
		`{"conversations":[` + strings.ReplaceAll(two, `"a"`, `"no","training":0`) + `,` + two + `]}`:                        ask + "<|im_start|>assistant\nno<|im_end|>\n" + ask + ans,
		`{"messages":[` + strings.ReplaceAll(two, `"a"`, `"no","loss":false`) + `,` + two + `]}`:                             ask + "<|im_start|>assistant\nno<|im_end|>\n" + ask + ans,
		`{"messages":[{"role":"user","content":"q","weight":0},{"role":"assistant","content":"a","weight":1,"train":true}]}`: ask + ans,

		// tools
		`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{\"z\":1,\"a\":1.0}"}}]},{"role":"tool","tool_call_id":"x","content":"r"},{"role":"assistant","content":"a","tool_calls":null}]}`: ask + weather + "<|im_start|>tool\nr<|im_end|>\n" + ans,
		`{"messages":[{"role":"user","content":"q"},{"role":"assistant","function_call":{"name":"f","arguments":"{\"z\":1,\"a\":1.0}"}},{"role":"function","name":"f","content":{"b":1,"a":[]}},{"role":"assistant","content":"a"}]}`:                                                                  ask + weather + "<|im_start|>tool\n{\"b\": 1, \"a\": []}<|im_end|>\n" + ans,
		`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"","tool_calls":[{"name":"f","arguments":{"z":1,"a":1.0}}]},{"role":"ipython","content":"r"},{"role":"assistant","content":"a"}]}`:                                                                                   ask + weather + "<|im_start|>tool\nr<|im_end|>\n" + ans,
		`{"conversations":[{"from":"human","value":"q"},{"from":"function_call","value":"{\"name\": \"f\"}"},{"from":"observation","value":"r"},{"from":"gpt","value":"a"}]}`:                                                                                                                          ask + "<|im_start|>assistant\n⟦<tool_call>\n{\"name\": \"f\"}\n</tool_call><|im_end|>⟧\n<|im_start|>tool\nr<|im_end|>\n" + ans,
		`{"conversations":[{"from":"human","value":"q"},{"from":"tool-call","value":{"name":"g","n":2}},{"from":"tool call","value":"{}"},{"from":"tool-response","value":"r"},{"from":"tool","value":"s"},{"from":"gpt","value":"a"}]}`:                                                               ask + "<|im_start|>assistant\n⟦<tool_call>\n{\"name\": \"g\", \"n\": 2}\n</tool_call>\n<tool_call>\n{}\n</tool_call><|im_end|>⟧\n<|im_start|>tool\nr<|im_end|>\n<|im_start|>tool\ns<|im_end|>\n" + ans,
	} {
		got, _, err := rendered("chatml", "", line)
		if err != nil || got != want {
			t.Errorf("%s:\n%q, want\n%q (%v)", line, got, want, err)
		}
	}
	for line, want := range map[string]string{ // tools however they are kept
		`{"messages":[` + two + `],"tools":[{"b":1,"a":"ü"}]}`:         "{\"b\": 1, \"a\": \"ü\"}\n</tools>",
		`{"messages":[` + two + `],"tools":"[{\"b\":1,\"a\":\"ü\"}]"}`: "{\"b\": 1, \"a\": \"ü\"}\n</tools>",
		`{"messages":[` + two + `],"tools":["{\"b\":1,\"a\":\"ü\"}"]}`: "{\"b\": 1, \"a\": \"ü\"}\n</tools>",
		`{"messages":[` + two + `],"functions":{"b":1,"a":"ü"}}`:       "{\"b\": 1, \"a\": \"ü\"}\n</tools>",
		`{"messages":[` + two + `],"tools":[{"b":1},{"a":[]}]}`:        "<tools>\n{\"b\": 1}\n{\"a\": []}\n</tools>",
	} {
		if got, _, err := rendered("chatml", "", line); err != nil || !strings.Contains(got, want) || !strings.HasPrefix(got, "<|im_start|>system\n# Tools") {
			t.Errorf("%s:\n%q (%v)", line, got, err)
		}
	}
	for _, line := range []string{`{"messages":[` + two + `],"tools":"[]"}`, `{"messages":[` + two + `],"tools":"","functions":[]}`} {
		if got, _, err := rendered("llama2", "", line); err != nil || strings.Contains(got, "ools") {
			t.Errorf("%s: %q (%v)", line, got, err)
		}
	}
	for line, want := range map[string]string{`{"messages":null,"text":"t"}`: example.Text, `{"conversations":[],"text":"t"}`: example.Text, `{"text":"t","messages":5}`: example.Text, `{"text":"t","question":"q","answer":"a"}`: example.Text} {
		if got, _, err := rendered("chatml", "", line); err != nil || got != want {
			t.Errorf("%s: %q (%v)", line, got, err)
		}
	}
}

// What would change what is learned, and what nobody can tell, is refused with the field's name.
func TestRefusedFields(t *testing.T) {
	msgs := `{"messages":[` + two + `],`
	for _, c := range []struct{ template, line, want string }{
		{"chatml", msgs + `"images":["a.png"]}`, `field "images"`},
		{"chatml", msgs + `"videos":[1]}`, `field "videos"`},
		{"chatml", msgs + `"audio":{"path":"x"}}`, `field "audio"`},
		{"chatml", msgs + `"documents":[{"title":"x"}]}`, `field "documents"`},
		{"chatml", msgs + `"chat_template_kwargs":{"enable_thinking":true}}`, `field "chat_template_kwargs"`},
		{"chatml", msgs + `"history":[["q","a"]]}`, `field "history"`},
		{"chatml", msgs + `"tools":[7]}`, "tools[0] is a number"},
		{"chatml", msgs + `"tools":"search the web"}`, `field "tools": a string that is not JSON`},
		{"chatml", msgs + `"tools":7}`, `field "tools" is a number`},
		{"chatml", msgs + `"tools":[{"a":1}],"functions":[{"b":1}]}`, `field "functions"`},
		{"chatml", `{"messages":[{"role":"system","content":"T"},` + two + `],"system":"S"}`, `field "system"`},
		{"chatml", msgs + `"system":7}`, `field "system" is a number`},
		{"llama2", msgs + `"tools":[{"name":"f"}]}`, `field "tools": the template has no place for it; chatml and llama3`},
		{"mistral", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"","tool_calls":[{"name":"f"}]},{"role":"tool","content":"r"},{"role":"assistant","content":"a"}]}`, "messages[1]"},
		{"longalpaca", `{"conversations":[{"from":"human","value":"q"},{"from":"observation","value":"r"},{"from":"gpt","value":"a"}]}`, "conversations[1]"},
		{"alpaca", msgs + `"tools":[{"name":"f"}]}`, `field "tools"`},
		{"alpaca", `{"instruction":"q","output":"a","system":"S"}`, "system: a system text, for which the template has no place"},
		{"longalpaca", `{"instruction":"q","output":"a","history":[["q","a"]]}`, "history[0][0]: the first of 4 messages"},
		{"chatml", `{"instruction":"q","output":"a","history":["q"]}`, "history[0] is no pair"},
		{"chatml", `{"instruction":"q","output":"a","history":[["q",null]]}`, "history[0][1] is null"},
		{"chatml", `{"instruction":"q","output":"a","context":"c"}`, `field "context"`},
		{"chatml", `{"question":"q","answer":"a","context":"c"}`, `field "context"`},
		{"chatml", `{"question":"q","answer":"a","choices":["a","b"]}`, `field "choices"`},
		{"chatml", `{"instruction":"i","question":"q","answer":"a"}`, `field "instruction": it stands beside question and answer`},
		{"chatml", `{"prompt":"q","completion":"a","response":"b"}`, `field "response": it stands beside prompt and completion`},
		{"chatml", `{"prompt":"q","completion":"a","label":false}`, `field "label" is false: preference data`},
		{"chatml", msgs + `"label":false}`, `field "label" is false: preference data`},
		{"chatml", msgs + `"kto_tag":false}`, `field "kto_tag" is false: preference data`},
		{"chatml", `{"instruction":"q","output":"a","kto_tag":false}`, `field "kto_tag" is false: preference data`},
		{"chatml", msgs + `"loss_mask":[0,1]}`, `field "loss_mask": programs differ`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","mask":false}]}`, `messages[1]: field "mask": programs differ`},
		{"chatml", `{"prompt":"q","chosen":"a","rejected":"b"}`, `field "chosen": preference data`},
		{"chatml", `{"chosen":[` + two + `],"rejected":[` + two + `]}`, `field "chosen": preference data`},
		{"chatml", `{"prompt":"q","completion":"a","rejected":"b"}`, `field "rejected": preference data`},
		{"chatml", `{"conversations":[{"from":"human","value":"q"}],"chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}}`, `field "chosen": preference data`},
		{"chatml", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]},{"role":"assistant","content":"a"}]}`, `messages[0]: field "content": part 0 is of the type "image_url"`},
		{"chatml", `{"messages":[{"role":"user","content":"q","images":["x"]},{"role":"assistant","content":"a"}]}`, `messages[0]: field "images"`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","reasoning_content":"hm"}]}`, `messages[1]: field "reasoning_content"`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","prefix":true}]}`, `messages[1]: field "prefix"`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","weight":0.5}]}`, `messages[1]: field "weight" is 0.5`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","train":"no"}]}`, `messages[1]: field "train" is "no"`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","weight":0}]}`, "no answer of the assistant that is scored"},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null}]}`, `messages[1]: field "content" is null`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant"}]}`, `messages[1]: no field "content"`},
		{"chatml", `{"messages":[{"content":"q"},{"role":"assistant","content":"a"}]}`, `messages[0]: no field "role"`},
		{"chatml", `{"messages":[{"role":"user","content":"q","tool_calls":[{"name":"f"}]},{"role":"assistant","content":"a"}]}`, `messages[0]: field "tool_calls": a call in a message of the user`},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"function":{"arguments":"{}"}}]}]}`, "tool_calls[0] has no function's name"},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"name":"f","arguments":"{x"}]}]}`, "arguments that are not JSON"},
		{"chatml", `{"conversations":[{"from":"human","value":"q"},{"from":"function_call","value":" "}]}`, "the call is empty"},
		{"chatml", `{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"b"},{"from":"function_call","value":"{}"}]}`, "two messages of the assistant in a row"},
		{"chatml", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","content":"b"}]}`, `field "content" stands twice`},
		{"chatml", `{"messages":"[{\"role\":\"user\",\"role\":\"user\",\"content\":\"q\"}]"}`, `field "role" stands twice`},
		{"chatml", `{"instruction":"q","output":"a","output":"b"}`, `field "output" stands twice`},
		{"llama3", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"name":"f","arguments":"{\"x\":1,\"x\":2}"}]}]}`, `field "x" stands twice`},
		{"chatml", `{"messages":"not a list"}`, `field "messages" is a string, not a list of messages`},
		{"chatml", `{"conversations":[]}`, `field "conversations" is an empty list, and one of messages is wanted`},
		{"chatml", `{"messages":"[{'role': 'user'}]"}`, `field "messages" is a string, not a list, and none in JSON either`},
		{"chatml", `{"prompt":"q","completion":""}`, `field "completion" is an empty string and holds no text`},
		{"chatml", `{"question":null,"answer":"a"}`, `field "question" is null and holds no text`},
		{"chatml", `{"question":"q","answer":42}`, `field "answer" is a number, not a text or a list of messages`},
		{"llama3", `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"t","tool_calls":[{"name":"f"}]}]}`, "messages[1]: the template has a text or one call"},
		{"llama3", `{"messages":[{"role":"assistant","content":"a"}],"tools":[{"name":"f"}]}`, `field "tools"`},
	} {
		got, _, err := rendered(c.template, "", c.line)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s:\n%v, want %s (%q)", c.template, c.line, err, c.want, got)
		}
	}
}
