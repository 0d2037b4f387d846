package template

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"longlora/internal/data/example"
	"longlora/internal/data/jsonfile"
	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/tokenizer"
)

// loaded is the tokenizer of testdata: byte-level, BOS 1, EOS 2.
func loaded(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	tk, err := tokenizer.Load("../../../testdata/tokenizer", []int{2})
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// shown is a rendering with its scored parts in ⟦⟧.
func shown(r *Rendering) string {
	var b strings.Builder
	at := 0
	for _, a := range r.Answers {
		b.WriteString(string(r.Text[at:a.Lo]) + "⟦" + string(r.Text[a.Lo:a.Hi]) + "⟧")
		at = a.Hi
	}
	b.Write(r.Text[at:])
	return b.String()
}

func talk(texts ...string) *example.Example {
	e := &example.Example{}
	for _, s := range texts {
		role, text, _ := strings.Cut(s, ":")
		e.Messages = append(e.Messages, example.Message{Role: map[string]string{"s": example.System, "u": example.User, "a": example.Assistant}[role], Content: text})
	}
	return e
}

func task(instruction, input, output string) *example.Example {
	m := map[string]any{"instruction": instruction, "input": input, "output": output}
	e, err := example.Read(example.Alpaca, m, nil)
	if err != nil {
		panic(err)
	}
	return e
}

// Every template writes what its table says, byte for byte.
func TestTemplates(t *testing.T) {
	for _, c := range []struct {
		name string
		e    *example.Example
		want string
	}{
		{"llama2", talk("u: q\n", "a: a "), "<s>[INST] q [/INST] ⟦a </s>⟧"},
		{"llama2", talk("s:\nbe ", "u:q", "a:a", "u:r", "a:b"), "<s>[INST] <<SYS>>\nbe\n<</SYS>>\n\nq [/INST] ⟦a </s>⟧<s>[INST] r [/INST] ⟦b </s>⟧"},
		{"llama2", talk("s:", "u:q\x1c", "a:a", "u:\u3000r"), "<s>[INST] <<SYS>>\n\n<</SYS>>\n\nq [/INST] ⟦a </s>⟧<s>[INST] r [/INST]"},
		{"llama2", task(" i", "j ", "a"), "<s>[INST] i\nj [/INST] ⟦a </s>⟧"},
		{"mistral", talk("s:be", "u:q", "a:a", "u: r", "a:b\n"), "<s>[INST] be\n\nq [/INST] ⟦a</s>⟧[INST] r [/INST] ⟦b</s>⟧"},
		{"longalpaca", talk("u: q ", "a: a "), "[INST] q [/INST]⟦ a </s>⟧"},
		{"longalpaca", task("i", "j", "a"), "[INST]i\nj[/INST]⟦a</s>⟧"},
		{"llama3", talk("s: be", "u:q ", "a:\ta", "u:", "a:"), "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nbe<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>" +
			"<|start_header_id|>assistant<|end_header_id|>\n\n⟦a<|eot_id|>⟧<|start_header_id|>user<|end_header_id|>\n\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n⟦<|eot_id|>⟧"},
		{"chatml", talk("s: be", "u:q ", "a:a "), "<|im_start|>system\n be<|im_end|>\n<|im_start|>user\nq <|im_end|>\n<|im_start|>assistant\n⟦a <|im_end|>⟧\n"},
		{"alpaca", task("i ", "", "a"), "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\ni \n\n### Response:⟦aEOS⟧"},
		{"alpaca", task("i", "j", " a"), "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\ni\n\n### Input:\nj\n\n### Response:⟦ aEOS⟧"},
		{"alpaca", talk("u:q", "a:a"), "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nq\n\n### Response:⟦aEOS⟧"},
		{"phi", talk("s:be ", "u: q", "a:a "), "<|system|>\nbe <|end|>\n<|user|>\n q<|end|>\n<|assistant|>\n⟦a <|end|>⟧\nEOS"},
		{"granite", talk("s:be", "u:q ", "a: a"), "<|start_of_role|>system<|end_of_role|>be<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>q <|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>⟦ a<|end_of_text|>⟧\n"},
		{"gemma", talk("s:be ", "u: q", "a:a\n", "u:r", "a:b"), "<bos><start_of_turn>user\nbe \n\nq<end_of_turn>\n<start_of_turn>model\n⟦a<end_of_turn>⟧\n<start_of_turn>user\nr<end_of_turn>\n<start_of_turn>model\n⟦b<end_of_turn>⟧\n"},
		{"olmo", talk("s:be", "u:q ", "a:a", "u:r", "a:b "), "<|endoftext|><|system|>\nbe\n<|user|>\nq \n<|assistant|>\n⟦a<|endoftext|>⟧\n<|user|>\nr\n<|assistant|>\n⟦b <|endoftext|>⟧"},
	} {
		var r Rendering
		if err := builtin(c.name, "EOS", "").Write(&r, c.e); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := shown(&r); got != c.want {
			t.Errorf("%s:\n%q, want\n%q", c.name, got, c.want)
		}
		for _, p := range r.Prompts {
			if s := string(r.Text[p.Lo:p.Hi]); !strings.Contains(c.e.Messages[0].Content+c.e.Messages[1].Content+"r", s) {
				t.Errorf("%s: %q is no text of the prompt", c.name, s)
			}
		}
	}
}

// Gemma 2 refuses a system text, Gemma 3 writes it.
func TestGemmaRefusesASystemText(t *testing.T) {
	e := talk("s:be", "u:q", "a:a")
	e.Messages[0].At = "system"
	err := builtin("gemma", "", "{{ raise_exception('System role not supported') }}<start_of_turn>").Write(&Rendering{}, e)
	if err == nil || !strings.Contains(err.Error(), "system: a system text, which the model's own template refuses") {
		t.Error(err)
	}
}

// A template file says what is scored by its functions.
func TestTemplateFile(t *testing.T) {
	tk := loaded(t)
	const chat = "{{.BOS}}{{range .Messages}}{{if eq .Role \"assistant\"}}{{answer}}{{.Content}}{{$.EOS}}{{end_answer}}{{else}}[{{.Content}}]{{end}}{{end}}!\n"
	for _, c := range []struct {
		text string
		e    *example.Example
		want string // or, for a fault, what it says
		code int
	}{
		{chat, talk("u:q{{", "a:a", "u:r", "a:b"), "<s>[q{{]⟦a</s>⟧[r]⟦b</s>⟧!\n", 0},
		{"{{.Instruction}}|{{.Input}}|{{answer}}{{(index .Messages 1).Content}}{{end_answer}}", task("i", "j", "a"), "i|j|⟦a⟧", 0},
		{"{{.Instrution}}{{answer}}{{end_answer}}", task("i", "j", "a"), "unknown field .Instrution", 2},
		{"{{range .Messages}}{{.Text}}{{end}}", talk("u:q", "a:a"), "unknown field .Text", 2},
		{"{{if false}}{{$x := .}}{{$x.Foo}}{{end}}", talk("u:q", "a:a"), "unknown field .Foo", 2},
		{"{{.Instruction}}{{answer}}a{{end_answer}}", talk("u:q", "a:a"), "Instruction", 2},
		{"{{answer}}{{answer}}", talk("u:q", "a:a"), "an answer inside an answer", 2},
		{"{{end_answer}}", talk("u:q", "a:a"), "end_answer without answer", 2},
		{"{{answer}}x", talk("u:q", "a:a"), "answer without end_answer", 2},
		{"x", talk("u:q", "a:a"), "nothing would be scored", 2},
		{"{{nosuch}}", talk("u:q", "a:a"), "nosuch", 2},
		{"{{", talk("u:q", "a:a"), "template", 2},
	} {
		var r Rendering
		tm, err := Open(testkit.Temp(t, "t.tmpl", c.text), "", OwnSystem{}, tk)
		if err == nil {
			err = tm.Write(&r, c.e)
		}
		if c.code != 0 {
			if errs.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: exit %d: %v", c.text, errs.Code(err), err)
			}
			continue
		}
		if got := shown(&r); err != nil || got != c.want {
			t.Errorf("%q: %q, want %q (%v)", c.text, got, c.want, err)
		}
	}
	if _, err := Open("nowhere", "", OwnSystem{}, tk); errs.Code(err) != 2 || !strings.Contains(err.Error(), "llama2") {
		t.Errorf("no such template: %v", err)
	}
}

// allow lets templates do less, so that a test is quick.
func allow(t testing.TB, n int) {
	old := baseAllowance
	baseAllowance = n
	t.Cleanup(func() { baseAllowance = old })
}

// A template that would not end, or would fill the memory, ends with a message that names it.
func TestTemplateFileEnds(t *testing.T) {
	tk := loaded(t)
	allow(t, 4<<20)
	doubled := func(call string) string { // 2^60 calls, or a text of 2^60 bytes
		var b strings.Builder
		for i := range 60 {
			fmt.Fprintf(&b, call, i, i+1)
		}
		return b.String()
	}
	for _, c := range []struct{ text, want string }{
		{`{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`, `"a" calls itself`},
		{`{{define "a"}}{{if .}}{{template "b" .}}{{end}}{{end}}{{define "b"}}{{with .}}{{template "a" .}}{{end}}{{end}}x`, "calls itself"},
		{`{{block "a" .}}{{template "a" .}}{{end}}`, `"a" calls itself`},
		{doubled(`{{define "t%[2]d"}}{{template "t%[1]d" .}}{{template "t%[1]d" .}}{{end}}`) + `{{define "t0"}}{{end}}{{template "t60" .}}`, "far more than an example needs"},
		{"{{range 1000000000000}}{{end}}", "far more"},
		{"{{range 1000000000000}}{{if false}}x{{else}}{{continue}}{{end}}{{end}}", "far more"},
		{"{{range 1000000}}{{range 1000000}}{{range .}}{{end}}{{end}}{{end}}", "far more"},
		{"{{range 1000000000000}}text{{end}}", "far more"},
		{`{{$x := "aaaa"}}` + doubled("{{$x = print $x $x}}%.0[1]d%.0[2]d"), "far more"},
		{`{{$x := "aaaa"}}` + doubled("{{$x = printf \"%%s%%s\" $x $x}}%.0[1]d%.0[2]d"), "far more"},
		{`{{$x := "<"}}` + doubled("{{$x = html $x $x}}%.0[1]d%.0[2]d"), "far more"},
		{strings.Repeat(`{{$x := printf "%1000000d" 1}}`, 100), "far more"},
		{strings.Repeat(`{{$x := printf "%*d" 1000000 1}}`, 100), "far more"},
		{strings.Repeat("{{(", 1<<16), "template"},
		{strings.Repeat("{{if true}}", 1<<13) + strings.Repeat("{{end}}", 1<<13), "nothing would be scored"},
		{strings.Repeat("{{range 3}}", 1<<13) + strings.Repeat("{{end}}", 1<<13), "8192 loops"},
		{strings.Repeat("{{range 3}}", maxLoops) + strings.Repeat("{{end}}", maxLoops), "far more"},
		{strings.Repeat("x", maxTemplateFile+1), "longer than"},
	} {
		tm, err := Open(testkit.Temp(t, "t.tmpl", c.text), "", OwnSystem{}, tk)
		if err == nil {
			err = tm.Write(&Rendering{}, talk("u:q", "a:a"))
		}
		if errs.Code(err) != 2 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--template") {
			t.Errorf("%.60q: exit %d: %.300v", c.text, errs.Code(err), err)
		}
	}
	// work in proportion to the example is no fault
	long := talk("u:"+strings.Repeat("word ", 1<<20), "a:a")
	tm, err := Open(testkit.Temp(t, "t.tmpl", "{{range .Messages}}{{printf \"%.3000s\" .Content}}{{print .Content}}{{answer}}{{.Content}}{{end_answer}}{{end}}"), "", OwnSystem{}, tk)
	if err != nil {
		t.Fatal(err)
	}
	if err := tm.Write(&Rendering{}, long); err != nil {
		t.Errorf("a long example: %v", err)
	}
}

// A template file leaves unscored what the data does, where it can be known, and what it leaves out itself is said.
func TestTemplateFileLeavesOut(t *testing.T) {
	tk := loaded(t)
	const chat = "{{range .Messages}}{{if eq .Role \"assistant\"}}{{answer}}{{.Content}}{{end_answer}}{{else if eq .Role \"user\"}}[{{.Content}}]{{end}}{{end}}"
	for _, c := range []struct {
		text, line, want string
		unread           []string
	}{
		{chat, `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","weight":0},{"role":"user","content":"r"},{"role":"assistant","content":"b"}]}`, "[q]a[r]⟦b⟧", nil},
		{chat, `{"messages":[{"role":"system","content":" s "},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`, "[q]⟦a⟧", []string{"texts of the system (the template file leaves them out)"}},
		{"{{(index .Messages 1).Content}}{{(index .Messages 0).Content}}{{answer}}.{{end_answer}}", `{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`, "qs⟦.⟧", nil},
		{"{{answer}}x{{end_answer}}", `{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"a","train":false},{"role":"user","content":"x"},{"role":"assistant","content":"b"}]}`, "messages[1]: a message that is not scored", nil},
		{chat, `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"tools":[{"name":"f"}]}`, `field "tools": the template has no place`, nil},
	} {
		m, _, err := jsonfile.Decode([]byte(c.line), func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		e, err := example.Read(example.Chat, m, nil)
		if err != nil {
			t.Fatal(err)
		}
		tm, err := Open(testkit.Temp(t, "t.tmpl", c.text), "", OwnSystem{}, tk)
		if err != nil {
			t.Fatal(err)
		}
		var r Rendering
		got := ""
		if err = tm.Write(&r, e); err == nil {
			got = shown(&r)
		} else {
			got = err.Error()
			if known := new(errs.Error); errors.As(err, &known) {
				t.Errorf("%s: no fault of the example alone: %v", c.text, err)
			}
		}
		if !strings.HasPrefix(got, c.want) || !slices.Equal(e.Unread, c.unread) {
			t.Errorf("%s:\n%s, want %s; unread %q", c.text, got, c.want, e.Unread)
		}
	}
}

func FuzzTemplateFile(f *testing.F) {
	tk := loaded(f)
	allow(f, 1<<20)
	for _, s := range []string{"{{range .Messages}}{{answer}}{{.Content}}{{end_answer}}{{end}}", "{{.BOS}}{{with .Messages}}{{len .}}{{end}}",
		`{{template "x" .}}{{define "x"}}{{.EOS}}{{end}}`, `{{define "a"}}{{template "a"}}{{end}}`, "{{range 100000000}}{{printf \"%9999d\" .}}{{end}}",
		`{{block "b" .}}{{$x := print . .}}{{html $x | js | urlquery}}{{slice $x 1}}{{end}}`, "{{if (eq 1 1)}}{{break}}{{else with .}}{{end}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tm, err := Open(testkit.Temp(t, "t.tmpl", s), "", OwnSystem{}, tk)
		if err != nil {
			return
		}
		var r Rendering
		if tm.Write(&r, talk("u:q", "a:a")) == nil && len(r.Answers) == 0 {
			t.Errorf("%q: no answer in %q", s, r.Text)
		}
		if len(r.Text) > 2*baseAllowance {
			t.Errorf("%q: %d bytes", s, len(r.Text))
		}
	})
}
