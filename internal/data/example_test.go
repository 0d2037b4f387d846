package data

import (
	"bytes"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"longlora/internal/errs"
	"longlora/internal/testkit/documents"
)

// A conversation, and what chatml makes of it.
const (
	two         = `{"role":"user","content":"q"},{"role":"assistant","content":"a"}`
	askedChatML = "<|im_start|>user\nq<|im_end|>\n"
	saidChatML  = "<|im_start|>assistant\na<|im_end|>\n"
)

// Fields that are not read are named once; those that hold nothing are not.
func TestUnreadIsSaid(t *testing.T) {
	line := `{"id":1,"system":null,"source":"x","images":[],"messages":[{"role":"user","content":"q","name":"Ann"},{"role":"assistant","content":"a"}]}` + "\n"
	type row struct {
		Prompt     string  `parquet:"prompt"`
		Completion string  `parquet:"completion"`
		Origin     *string `parquet:"origin,optional"`
	}
	var pq bytes.Buffer
	if err := parquet.Write(&pq, []row{{"q", "a", nil}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, content, want string }{
		{"a.jsonl", line + line, "a.jsonl: not read: id, messages[].name, source\n"},
		{"b.jsonl", `{"instruction":"q","output":"a","text":"qa"}`, "b.jsonl: not read: text\n"},
		{"c.jsonl", `{"prompt":"q","completion":"a"}`, ""},
		{"d.parquet", pq.String(), "d.parquet: not read: origin\n"},
		{"e.jsonl", `{"messages":[{"role":"user","content":"q","train":true},{"role":"assistant","content":"a","from":"x"}]}`, "not read: messages[].from, messages[].train of the user\n"},
	} {
		var log bytes.Buffer
		o := realOptions(t, write(t, c.name, c.content), "", 0)
		o.Log, o.Template = &log, "chatml"
		texts(t, o)
		if strings.Contains(log.String(), "not read") != (c.want != "") || !strings.Contains(log.String(), c.want) || strings.Count(log.String(), "not read") > 1 {
			t.Errorf("%s: %s", c.name, log.String())
		}
	}
}

// A table's columns may hold lists and objects; tools are written in the order of their fields, with what is null.
func TestChatInColumns(t *testing.T) {
	type function struct {
		Type string `parquet:"type"`
		Of   struct {
			Name   string   `parquet:"name"`
			Strict *bool    `parquet:"strict,optional"`
			Args   []string `parquet:"args,list"`
		} `parquet:"function"`
	}
	type made struct {
		Name string `parquet:"name"`
		Args string `parquet:"arguments"`
	}
	type turn struct {
		Role    string   `parquet:"role"`
		Content *string  `parquet:"content,optional"`
		Weight  *float64 `parquet:"weight,optional"`
		Calls   []made   `parquet:"tool_calls,list"`
	}
	type row struct {
		Messages []turn     `parquet:"messages,list"`
		Tools    []function `parquet:"tools,list"`
		Images   []string   `parquet:"images,list"`
		System   string     `parquet:"system"`
	}
	q, a, zero := "q", "a", 0.0
	f := function{Type: "function"}
	f.Of.Name, f.Of.Args = "f", []string{"x", "y"}
	content := parquetOf(t,
		row{[]turn{{Role: "user", Content: &q}, {Role: "assistant", Calls: []made{{"f", `{"z":1,"a":2}`}}}, {Role: "tool", Content: &q}, {Role: "assistant", Content: &a}}, []function{f}, nil, "S"},
		row{[]turn{{Role: "user", Content: &q}, {Role: "assistant", Content: &q, Weight: &zero}, {Role: "user", Content: &q}, {Role: "assistant", Content: &a}}, nil, nil, ""})
	_, enc := documents.ChatCases(t, "template/testdata")
	o := Options{Paths: []string{write(t, "a.parquet", content)}, Template: "chatml", TextField: "text", Vocab: enc.Size(), Encoder: enc, Tokenizer: &Identity{said: map[string]bool{}}}
	var log bytes.Buffer
	o.Log = &log
	got := texts(t, o)
	if !strings.Contains(log.String(), "functions or calls are written with fields that are null") {
		t.Errorf("nothing is said of null: %s", log.String())
	}
	if len(got) != 2 || got[1] != askedChatML+strings.Replace(saidChatML, "a<", "q<", 1)+askedChatML+saidChatML {
		t.Errorf("%q", got)
	}
	for _, want := range []string{"S\n\n# Tools", `{"type": "function", "function": {"name": "f", "strict": null, "args": ["x", "y"]}}`, `{"name": "f", "arguments": {"z": 1, "a": 2}}`, "<|im_start|>tool\nq<|im_end|>"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("%q has no %s", got[0], want)
		}
	}
}

// A refused example is a malformed one: it names the line, and --skip-bad passes over it and counts it.
func TestRefusedExamplesCanBeSkipped(t *testing.T) {
	good := `{"messages":[` + two + `]}` + "\n"
	o := realOptions(t, write(t, "a.jsonl", good+`{"messages":[`+two+`],"images":["x"]}`+"\n"+good), "pad", 1000)
	if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), "a.jsonl:2: field \"images\"") {
		t.Errorf("%v", err)
	}
	o.SkipBad = true
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st := s.Stats(0); st.Skipped != 1 || st.Documents != 2 {
		t.Errorf("%+v", st)
	}
}

// The format of a record too long to be held is known as that of a short one.
func TestFormatOfLongRecord(t *testing.T) {
	long := strings.Repeat("word ", longRecord/4)
	for line, want := range map[string]string{
		`{"messages":[],"text":"` + long + `"}`:                                     Text,
		`{"messages":null,"conversations":"","text":"` + long + `"}`:                Text,
		`{"messages":[` + strings.Replace(two, `"q"`, `"`+long+`"`, 1) + `]}`:       Chat,
		`{"messages":"[{\"role\":\"user\",\"content\":\"` + long + `\"}]"}`:         Chat,
		`{"prompt":"` + long + `","completion":"a"}`:                                Chat,
		`{"instruction":"` + long + `","output":"a"}`:                               Alpaca,
		`{"instruction":"","input":"` + long + `","output":"a","text":"` + `"}`:     Alpaca,
		`{"text":"` + long + `","question":"q","answer":"a"}`:                       Text,
		`{"prompt":"` + long + `","chosen":[{"role":"user"}],"rejected":[{"x":1}]}`: "chosen",
	} {
		s, err := openSource(write(t, "a.jsonl", line), &Options{TextField: "text"})
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%.40s: %v", line, err)
			}
		} else if s.format != want {
			t.Errorf("%.40s: %s, want %s", line, s.format, want)
		}
	}
}
