package template

import (
	"strings"
	"testing"

	"longlora/internal/data/example"
	"longlora/internal/data/jsonfile"
)

func FuzzLines(f *testing.F) {
	for _, s := range []string{`{"messages":[{"role":"user","content":[{"text":"q"}]},{"from":"function_call","value":{"a":1}},{"role":"tool","content":"r"},{"role":"bot","content":"","tool_calls":[{"name":"f","arguments":"{}"}]}],"tools":"[{}]"}`,
		`{"prompt":"q","completion":[{"role":"assistant","content":"a","weight":1.0}],"history":[["a","b"]],"system":"s"}`, "{\"text\":\"a\"}\n\n{}", "\xef\xbb\xbf{\"text\":\"\xff\"}", "\r\n", "{\"instruction\":\"\",\"output\":1}", `{"messages":[{"role":"user"}]}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { readAll(t, true, s) })
}

func FuzzObjects(f *testing.F) {
	for _, s := range []string{"[{\"text\":\"a\"},{}]", "{\"text\":\"]\\\"\"} {}", "[[[[", "[1,\"", "{\"a\":}]", "[]x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { readAll(t, false, s) })
}

// readAll reads every record as every format; whatever comes, it ends, within the input's length.
func readAll(t *testing.T, byLines bool, s string) {
	rs, err := jsonfile.NewRecords(strings.NewReader(s), byLines, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		b, line, bad, err := rs.Next(nil)
		if err != nil {
			return
		}
		if n > len(s) || line < 1 || line > len(s)+1 || len(b) > len(s) {
			t.Fatalf("record %d at line %d with %d bytes, of %q", n, line, len(b), s)
		}
		if bad != nil {
			continue
		}
		m, _, err := jsonfile.Decode(b, func(string) bool { return true })
		if err != nil {
			continue
		}
		if example.WrittenOut(m) {
			if m, err = jsonfile.DecodeInOrder(b); err != nil {
				continue
			}
		}
		for _, format := range []string{example.Alpaca, example.Chat} {
			if e, err := example.Read(format, m, nil); err == nil {
				for _, name := range names {
					var r Rendering
					if builtin(name, "</s>", "").Write(&r, e) == nil && len(r.Answers) == 0 {
						t.Fatalf("%s: no answer in %q", name, r.Text)
					}
				}
			}
		}
	}
}
