package jsonfile

import (
	"io"
	"slices"
	"strings"
	"testing"

	"longlora/internal/data/record"
)

// Records are found however a file lays them out, with the lines that they begin in.
func TestRecords(t *testing.T) {
	for _, c := range []struct {
		name, text string
		byLines    bool
		want       []string
		lines      []int
		end        string // of what ends reading; "": the file's end
	}{
		{"lines", "{\"a\":1}\n\n{\"b\":2}", true, []string{`{"a":1}` + "\n", `{"b":2}`}, []int{1, 3}, ""},
		{"joined files", "{}\n{\"a\":\"}{\"}{\"b\":{}} {\"c\":3}\n{}", true, []string{"{}\n", `{"a":"}{"}`, `{"b":{}}`, `{"c":3}` + "\n", "{}"},
			[]int{1, 2, 2, 2, 3}, ""},
		{"one line of all", `{"a":1}{"b":2} {"c":3}`, true, []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}, []int{1, 1, 1}, ""},
		{"unsound before another", "{}\n{\"a\":]}{}", true, []string{"{}\n", `{"a":]}{}`}, []int{1, 2}, ""},
		{"an array in lines", "[{\"a\":1},\n{\"b\":2}]", true, []string{`{"a":1}`, `{"b":2}`}, []int{1, 2}, ""},
		{"objects over lines", "{\n\"a\":1}\n{\n\"b\":2}", true, []string{"{\n\"a\":1}", "{\n\"b\":2}"}, []int{1, 3}, ""},
		{"objects", `{"a":"}"} {"b":2}`, false, []string{`{"a":"}"}`, `{"b":2}`}, []int{1, 1}, ""},
		{"no array's end", `[{"a":1}`, false, []string{`{"a":1}`}, []int{1}, "unexpected EOF"},
		{"no comma", `[{"a":1}{}]`, false, []string{`{"a":1}`}, []int{1}, "line 1: not JSON: '{' where a comma or ] is wanted"},
	} {
		rs, err := NewRecords(strings.NewReader(c.text), c.byLines, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var lines []int
		for {
			b, line, bad, err := rs.Next(nil)
			if err != nil {
				if c.end == "" && err != io.EOF || c.end != "" && err.Error() != c.end {
					t.Errorf("%s: %v, want %q", c.name, err, c.end)
				}
				break
			}
			if bad != nil {
				t.Fatalf("%s: %v", c.name, bad)
			}
			got, lines = append(got, string(b)), append(lines, line)
		}
		if !slices.Equal(got, c.want) || !slices.Equal(lines, c.lines) {
			t.Errorf("%s: %q in lines %v", c.name, got, lines)
		}
	}
}

// A record that is too long to be held gives its text piece by piece, its fields at a glance, or nothing; the next one is
// found all the same.
func TestLongRecords(t *testing.T) {
	text := strings.Repeat("the otter \\\"is\\\" in ", 20)
	long := `{"id":7,"text":"` + text + `","tools":[1]}`
	for _, form := range []string{"%\n{}", "[%,\n{}]"} {
		open := func() Records {
			rs, err := NewRecords(strings.NewReader(strings.Replace(form, "%", long, 1)), true, 100)
			if err == nil {
				_, _, err, _ = rs.Next(nil)
			}
			if err != record.ErrLong {
				t.Fatalf("%s: %v", form, err)
			}
			return rs
		}
		next := func(rs Records) {
			t.Helper()
			if b, line, bad, err := rs.Next(nil); string(b) != "{}" || line != 2 || bad != nil || err != nil {
				t.Errorf("%s: then %q in line %d, %v, %v", form, b, line, bad, err)
			}
		}
		rs, got := open(), ""
		found, names, bad, err := StreamText(rs, "text", func(b []byte) error {
			got += string(b)
			return nil
		})
		if !found || !slices.Equal(names, []string{"id", "text", "tools"}) || bad != nil || err != nil ||
			got != strings.ReplaceAll(text, `\"`, `"`) {
			t.Errorf("%s: %v, %q, %v, %v: %q", form, found, names, bad, err, got)
		}
		next(rs)
		rs = open()
		m, _, bad, err := Glance(rs, func(name string) bool { return name != "id" })
		tools, _ := m["tools"].([]any)
		if _, wanted := m["id"]; wanted || len(tools) != 1 || m["text"] != "th" || bad != nil || err != nil {
			t.Errorf("%s: %v, %v, %v", form, m, bad, err)
		}
		next(rs)
		rs = open()
		if err := rs.Skip(); err != nil {
			t.Error(err)
		}
		next(rs)
		if found, _, bad, err := StreamText(open(), "body", nil); found || bad != nil || err != nil {
			t.Errorf("%s: a field that is not there: %v, %v, %v", form, found, bad, err)
		}
	}
}
