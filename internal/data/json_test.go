package data

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
)

// Records are read however a JSON file lays them out, by whichever of its extensions it goes.
func TestJSONShapes(t *testing.T) {
	two := []string{"<s>one</s>", "<s>two</s>"}
	for name, content := range map[string]string{
		"lines":                 "{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"an array":              `[{"text":"one"},{"text":"two"}]`,
		"an array over lines":   "[\n  {\"text\": \"one\"},\n  {\"text\": \"two\"}\n]\n",
		"indented":              "{\n  \"text\": \"one\"\n}\n{\n  \"n\": {\n    \"a\": []\n  },\n  \"text\": \"two\"\n}\n",
		"one behind another":    `{"text":"one"}{"text":"two"}`,
		"NaN":                   "{\"text\":\"one\",\"score\":NaN}\n{\"text\":\"two\",\"s\":[Infinity,-Infinity,{\"NaN\":\"NaN\"}]}\n",
		"blank lines":           "\n\r\n{\"text\":\"one\"}\r\n\n {\"text\":\"two\"} ",
		"escaped names":         "{\"t\\u0065xt\":\"one\"}\n{\"text\":\"two\",\"Text\":3,\"text \":4}\n",
		"joined files":          "\ufeff{\"text\":\"one\"}\n\ufeff{\"text\":\"two\"}\n",
		"joined indented files": "\ufeff{\n\"text\":\"one\"\n}\n\ufeff{\n\"text\":\"two\"\n}\n\ufeff",
		"joined in a line":      "{\"text\":\"one\"}\ufeff{\"text\":\"two\"}\n",
		"joined, no mark first": "{\"text\":\"one\"}\n\ufeff{\"text\":\"two\"}\n\ufeff",
		"two that are not read": "{\"id\":1,\"text\":\"one\",\"id\":2}\n{\"text\":\"two\"}\n",
	} {
		for _, ext := range []string{".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.zst"} {
			p := write(t, "a"+ext, packed(t, filepath.Ext(ext), content))
			if got := texts(t, realOptions(t, p, "", 0)); !reflect.DeepEqual(got, two) {
				t.Errorf("%s%s: %q", name, ext, got)
			}
		}
	}
	for name, content := range map[string]string{
		"an object cut short":  "{\"text\":\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"a string cut short":   "{\"text\":\"x\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"cut short in a field": "{\"text\":\"x\", \"a\": {\"b\":\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"no JSON":              "x\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"a bad field":          "{\"text\":\"x\",\"a\":[1,,2]}\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"a bad word":           "{\"text\":\"x\",\"a\":nul}\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"a control character":  "{\"text\":\"a\tb\"}\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"a field twice":        "{\"text\":\"x\",\"t\\u0065xt\":\"x\"}\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
		"more behind it":       "{\"text\":\"x\"} []\n{\"text\":\"one\"}\n{\"text\":\"two\"}\n",
	} {
		o := realOptions(t, write(t, "a.jsonl", content), "", 0)
		if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), "a.jsonl:1") {
			t.Errorf("%s: %v", name, err)
		}
		o.SkipBad = true
		if got := texts(t, o); !reflect.DeepEqual(got, two) {
			t.Errorf("%s, passed over: %q", name, got)
		}
	}
}

// smallParts has texts cut at a few kilobytes.
func smallParts(t *testing.T) {
	a, b, c := longRecord, partBytes, wordBytes
	longRecord, partBytes, wordBytes = 1<<10, 1<<12, 1<<15
	t.Cleanup(func() { longRecord, partBytes, wordBytes = a, b, c })
}

// A text without a place for a cut is cut all the same, at the same places however it is read.
func TestLongWords(t *testing.T) {
	smallParts(t)
	word := strings.Repeat("theé", 30000) + " and then"
	quoted, err := json.Marshal(map[string]string{"text": word})
	if err != nil {
		t.Fatal(err)
	}
	var want []int32
	for name, content := range map[string]string{"a.txt": word, "a.jsonl": string(quoted), "a.json": "[\n" + string(quoted) + "]", "a.parquet": parquetOf(t, textRow{word, 1})} {
		o := realOptions(t, write(t, name, content), "pad", 1<<20)
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		got := s.Row(0).IDs
		if text, err := o.Encoder.Decode(got); s.Rows() != 1 || err != nil || text != "<s>"+word+"</s>" {
			t.Errorf("%s: %d rows, another text", name, s.Rows())
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: other tokens", name)
		}
		s.Close()
	}
}

// A text in a record that is too long to be held is the document that it would be if it were; what is wrong with such a
// record is found, and the document taken back, wherever it stands.
func TestLongRecords(t *testing.T) {
	smallParts(t)
	tk, _ := real(t)
	long := strings.Repeat("the otter \"is\" in\tthe inn \\ na\u00efve \U0001f600\n", 500) // several parts
	for _, form := range []string{"%", "[%]"} {
		for what, c := range map[string]struct {
			record string
			bad    string
		}{
			"sound":           {record: `{"junk":[{"a":"]}"},NaN],"text":%,"more":{"x":[1,2]}}`},
			"no field":        {`{"txt":%}`, `no field "text" (--text-field); it has txt`},
			"twice":           {`{"text":"","text":%}`, "twice"},
			"no string":       {`{"text":[%]}`, "no string"},
			"cut short":       {`{"text":%,"a":`, "it ends inside a value"},
			"no comma":        {`{"text":% "a":1}`, "comma"},
			"a bad escape":    {`{"text":%,"text2":"\x"}`, ""},
			"more behind it":  {`{"text":%} x`, "after the end"},
			"no colon":        {`{"text":%,"a" 1}`, "colon"},
			"control":         {"{\"text\":\"" + strings.Repeat("word ", 5000) + "\x01\"}", "control character"},
			"broken \\u":      {"{\"text\":\"" + strings.Repeat("word ", 5000) + "\\u12g4\"}", "within a string"},
			"no escape":       {"{\"text\":\"" + strings.Repeat("word ", 5000) + "\\q\"}", "within a string"},
			"half a pair":     {record: `{"text":%}`},
			"name not quoted": {`{"text":%,a:1}`, "name is wanted"},
		} {
			text := long
			b, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			quoted := string(b)
			if what == "half a pair" {
				quoted, text = quoted[:len(quoted)-1]+`\ud83d\u0041\ude00"`, text+"\ufffdA\ufffd"
			}
			record := strings.Replace(c.record, "%", quoted, 1)
			between := "\n"
			if form == "[%]" {
				between = ",\n"
			}
			content := strings.Replace(form, "%", `{"text":"first"}`+between+record+between+`{"text":"last"}`, 1)
			want := []string{"<s>first</s>", "<s>" + text + "</s>", "<s>last</s>"}
			o := realOptions(t, write(t, "a.jsonl", content), "", 0)
			if c.bad == "" {
				if got := texts(t, o); !slices.Equal(got, want) {
					t.Errorf("%s, %s: %d documents, the second of %d bytes, want %d", form, what, len(got), len(got[min(1, len(got)-1)]), len(want[1]))
				}
				if what == "sound" { // to the token
					o.Pack, o.Ctx = "pad", 1<<22
					s, err := Open(t.Context(), o)
					if err != nil {
						t.Fatal(err)
					}
					ids, err := tk.Encode(text)
					if err != nil {
						t.Fatal(err)
					}
					if ids = append(append([]int32{1}, ids...), 2); !slices.Equal(s.Row(1).IDs, ids) {
						t.Errorf("%s: %d tokens, want %d", form, len(s.Row(1).IDs), len(ids))
					}
					s.Close()
				}
				continue
			}
			_, err = Open(t.Context(), o)
			if errs.Code(err) != 4 || form == "%" && !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s, %s: %v", form, what, err)
			}
			if form == "%" {
				o.SkipBad = true
				if got := texts(t, o); !slices.Equal(got, []string{want[0], want[2]}) {
					t.Errorf("%s passed over: %.60q", what, got)
				}
			}
		}
	}
}

// A preparation that stops inside a long record goes on in it.
func TestPrepareGoesOnInsideRecord(t *testing.T) {
	smallParts(t)
	long := strings.Repeat("the otter is in the inn\\n", 9000)
	src := write(t, "a.jsonl", "{\"text\":\"first\"}\n{\"text\":\""+long+"\"}\n{\"text\":\"last\"}\n")
	dir := t.TempDir()
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), filepath.Join(dir, "whole.bin"), "test"); err != nil {
		t.Fatal(err)
	}
	o := realOptions(t, src, "", 0)
	s, err := openSource(src, &o)
	if err == nil {
		err = s.openEncoder()
	}
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "a.bin")
	p := preparation{s: s, out: bin, part: partDir(bin)}
	if p.want, err = s.describe("test"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.enter(), p.open()); err != nil {
		t.Fatal(err)
	}
	stopped := s.encode(t.Context(), place{}, func(r *result) error {
		p.state.Place = r.after
		if r.after.Offset > 1<<17 {
			return io.ErrClosedPipe
		}
		return p.w.Add(r.ids, r.docs)
	})
	if stopped != io.ErrClosedPipe {
		t.Fatal(stopped)
	}
	// what was not added is read again
	p.state.Place = place{File: 0, Record: 1, Offset: 0}
	p.w.Tokens = p.w.Whole
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	p.close()
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test"); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{"", ".idx"} {
		a, err1 := os.ReadFile(filepath.Join(dir, "whole.bin"+ext))
		b, err2 := os.ReadFile(bin + ext)
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("%q differs: %d and %d bytes, %v, %v", ext, len(a), len(b), err1, err2)
		}
	}
}
