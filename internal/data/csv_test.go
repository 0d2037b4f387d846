package data

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"longlora/internal/errs"
)

// A table's columns are what the fields of JSON objects are, in each format, encoding and compression.
func TestCSVFormats(t *testing.T) {
	const stanford = "<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n"
	u16 := func(s string) string {
		b := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(s)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		content string
		want    []string
	}{
		"a.csv":       {"id,text\n1,one\n2,\"zwei\n\n\"\n", []string{"<s>one</s>", "<s>zwei\n\n</s>"}},
		"a.tsv":       {"id\ttext\n1\tone, two\n", []string{"<s>one, two</s>"}},
		"u16.csv":     {u16("id,text\r\n1,öne\r\n"), []string{"<s>öne</s>"}},
		"bad.csv":     {"text\na\xff\xe2\x82b\n", []string{"<s>a\ufffd\ufffdb</s>"}},
		"alpaca.csv":  {"instruction,input,output\nq,,a\n", []string{stanford + "q\n\n### Response:a</s>"}},
		"pair.csv":    {"prompt,completion\nq,007\n", []string{stanford + "q\n\n### Response:007</s>"}},
		"qa.tsv":      {"question\tanswer\nq\t\"a\tb\"\n", []string{stanford + "q\n\n### Response:a\tb</s>"}},
		"chat.csv":    {"id,messages\n1,\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}, {\"\"role\"\": \"\"assistant\"\", \"\"content\"\": \"\"a\"\"}]\"\n", []string{stanford + "q\n\n### Response:a</s>"}},
		"lines.csv":   {"messages\n\"[\n  {\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"},\n  {\"\"role\"\": \"\"assistant\"\", \"\"content\"\": \"\"a\"\"}\n]\"\n", []string{stanford + "q\n\n### Response:a</s>"}},
		"label.csv":   {"label\nTrue\n", []string{"<s>True</s>"}},
		"content.csv": {"content\na\n", []string{"<s>a</s>"}},
	} {
		for _, ext := range []string{"", ".gz", ".zst"} {
			o := realOptions(t, write(t, name+ext, packed(t, ext, c.content)), "", 0)
			if field, _, _ := strings.Cut(name, "."); field == "content" || field == "label" {
				o.TextField = field
			}
			if got := texts(t, o); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s%s: %q, want %q", name, ext, got, c.want)
			}
		}
	}
}

// What is wrong with a table is said with the file, the line and the mend, and passed over where that is asked for.
func TestCSVFaults(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		code    int
		want    []string
		skipped int // with SkipBad, of rows of which one is good; -1: it is refused all the same
	}{
		"short.csv":  {"id,text\n1,a\n\"2\n2\"\n", 4, []string{"short.csv:3", "1 cell where the head has 2", "--skip-bad"}, 1},
		"long.csv":   {"id,text\n1,a, b\n2,b\n", 4, []string{"long.csv:2", "3 cells where the head has 2", "in quotes"}, 1},
		"index.csv":  {"id,text\n1,a,b\n2,b,c\n3,d\n", 4, []string{"index.csv:2"}, 2},
		"open.csv":   {"id,text\n1,a\n2,\"b\n3,c\n", 4, []string{"open.csv:3", "never closed"}, 1},
		"null.csv":   {"id,text\n1,a\n2,NA\n3,\n", 4, []string{"null.csv:3", "\"text\" is null", "an empty cell, NA"}, 2},
		"none.csv":   {"id,text\n", 4, []string{"none.csv", "no document"}, -1},
		"head.csv":   {"\n  \n", 4, []string{"head.csv", "no head"}, -1},
		"twice.csv":  {"text,id,text\na,1,b\n", 4, []string{"twice.csv", "columns 1 and 3 are both \"text\""}, -1},
		"field.csv":  {"id,txt\n1,a\n", 4, []string{"field.csv:2", "--text-field", "it has id, txt (the first row names"}, -1},
		"data.csv":   {"1," + strings.Repeat("a ", 300) + "\n2,b\n", 4, []string{"data.csv:2", "it has 1, a a a", "… (the first row names the columns)"}, -1},
		"semi.csv":   {"id;text\n1;a\n", 4, []string{"semi.csv", "separated by ';'", "commas"}, -1},
		"tabs.csv":   {"id\ttext\n1\ta\n", 4, []string{"tabs.csv", ".tsv"}, -1},
		"python.csv": {"messages\n\"[{'role': 'user', 'content': 'q'}]\"\n", 4, []string{"python.csv:2", "messages", "json.dumps"}, -1},
		"kto.csv":    {"prompt,completion,label\nq,a,True\nq,a,False\n", 4, []string{"kto.csv:3", "label", "DPO"}, 1},
		"answer.csv": {"question,answer\nq,a\nq,None\n", 4, []string{"answer.csv:3", "\"answer\" is null", "an empty cell, NA"}, 1},
	} {
		for _, skip := range []bool{false, true} {
			o := realOptions(t, write(t, name, c.content), "pad", 1<<10)
			o.SkipBad = skip
			s, err := Open(t.Context(), o)
			if err == nil {
				if st := s.Stats(0); !skip || st.Skipped != c.skipped || st.Documents != 1 {
					t.Errorf("%s: %+v", name, st)
				}
				s.Close()
				continue
			}
			if skip && c.skipped >= 0 || errs.Code(err) != c.code {
				t.Errorf("%s: exit %d: %v", name, errs.Code(err), err)
			}
			for _, w := range c.want {
				if !skip && !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %q does not say %q", name, err, w)
				}
			}
		}
	}
}

// A cell that is read as empty though something stands in it is said to be, once.
func TestCSVSaysWhatIsEmpty(t *testing.T) {
	var log bytes.Buffer
	o := realOptions(t, write(t, "a.csv", "instruction,input,output,n\nq,NA,a,NA\nq,NA,b,1\nq,n/a,c,1\n"), "", 0)
	o.Log = &log
	texts(t, o)
	want := `not read: "NA" in input (to pandas, and so here, an empty cell), "n/a" in input (to pandas, and so here, an empty cell), n` + "\n"
	if !strings.Contains(log.String(), want) {
		t.Errorf("%s, want %s", log.String(), want)
	}
}

// Long cells are the documents that they would be elsewhere, though they are not held, and a row that is too long is
// one fault.
func TestCSVLongCells(t *testing.T) {
	smallParts(t)
	long := strings.Repeat("the otter \"\" is, in\nthe inn. ", 1000)
	text := strings.ReplaceAll(long, `""`, `"`)
	body := "id,text,n\n1,a,2\n2,\"" + long + "\",3\n3,b,4\n"
	want := []string{"<s>a</s>", "<s>" + text + "</s>", "<s>b</s>"}
	if got := texts(t, realOptions(t, write(t, "a.csv", body), "", 0)); !reflect.DeepEqual(got, want) {
		t.Errorf("%d documents: %.200q", len(got), got)
	}
	for name, c := range map[string]struct{ row, want string }{
		"ragged.csv": {"2,\"" + long + "\"\n", "2 cells where the head has 3"},
		"open.csv":   {"2,\"" + long + "\n3,b,4\n", "never closed"},
	} {
		o := realOptions(t, write(t, name, "id,text,n\n1,a,2\n"+c.row), "pad", 1<<10)
		if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name+":3") {
			t.Errorf("%s: %v", name, err)
		}
		o.SkipBad = true
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if st := s.Stats(0); st.Skipped != 1 || st.Documents != 1 || st.Tokens != 3 {
			t.Errorf("%s: %+v", name, st)
		}
		s.Close()
	}
	old := maxRecord
	maxRecord = 300
	t.Cleanup(func() { maxRecord = old })
	o := realOptions(t, write(t, "b.csv", "prompt,completion\nq,\""+long+"\"\nq,a\n"), "pad", 1<<10)
	if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), "b.csv:2") || !strings.Contains(err.Error(), "1 GiB") {
		t.Errorf("a long row: %v", err)
	}
	o.HostMem = 299 * recordShare
	if _, err := Open(t.Context(), o); errs.Code(err) != 3 || !strings.Contains(err.Error(), "b.csv:2") {
		t.Errorf("a long row for the memory: %v", err)
	}
	o.SkipBad = true
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(0); st.Skipped != 1 || st.Documents != 1 {
		t.Errorf("%+v", st)
	}
	s.Close()
}
