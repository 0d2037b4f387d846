package eval

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

const words4 = "filler: 'a b '\nfact: ' f {key}'\nquestion: q\nanswer: ' {key}'\n"

// Texts come as they are written, whatever YAML would make of them; faults name the line and what is wanted.
func TestParseTemplate(t *testing.T) {
	plain := Template{Filler: "a b ", Fact: " f {key}", Question: "q", Answer: " {key}"}
	with := func(change func(*Template)) Template {
		x := plain
		change(&x)
		return x
	}
	for text, want := range map[string]Template{
		words4:                                          plain,
		"# words\n---\n" + words4:                       plain,
		words4 + "intro:\nkeys:\n":                      plain,
		words4 + "intro: 007\n":                         with(func(x *Template) { x.Intro = "007" }),
		words4 + "intro: |\n  two\n  lines\n":           with(func(x *Template) { x.Intro = "two\nlines\n" }),
		words4 + "keys: [1e5, yes, 0x10, 2024-10-01]\n": with(func(x *Template) { x.Keys = []string{"1e5", "yes", "0x10", "2024-10-01"} }),
		words4 + "keys: &k [&a x, *a]\nnames: *k\n":     with(func(x *Template) { x.Keys, x.Names = []string{"x", "x"}, []string{"x", "x"} }),
		strings.Replace(words4, ": q", ": ~ q", 1):      with(func(x *Template) { x.Question = "~ q" }),
		strings.ReplaceAll(words4, "\n", "\r\n"):        plain,
		"{filler: 'a b ', fact: ' f {key}', question: q, answer: ' {key}', names: []}": plain,
	} {
		if got, err := parseTemplate([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                                    "filler is missing",
		"# nothing":                           "filler is missing",
		"- a\n":                               "line 1: a mapping of intro",
		"text":                                "a mapping",
		words4 + "fillers: x\n":               `line 5: unknown key "fillers"; known are intro`,
		words4 + "? [a]\n: x\n":               "line 5: unknown key",
		words4 + "filler: x\n":                "line 5: filler stands twice",
		words4 + "keys: red\n":                "line 5: keys must be a list of texts",
		words4 + "keys: {a: b}\n":             "keys must be a list",
		words4 + "keys: [[a]]\n":              "keys must hold texts alone",
		words4 + "keys: [a, '']\n":            "keys holds an empty text",
		words4 + "names: [~]\n":               "names holds an empty text",
		words4 + "intro: [a]\n":               "line 5: intro must be a text",
		words4 + "---\n" + words4:             "a second document",
		strings.Replace(words4, "{k", "k", 1): "must hold {key}",
		"a: &a [*a]":                          "unknown key",
		"filler: [":                           "yaml",
		"\x00":                                "yaml",
	} {
		if _, err := parseTemplate([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// A small file does not take the machine: many keys, deep nesting, aliases of aliases, a pipe.
func TestTemplateIsBounded(t *testing.T) {
	var many, bomb strings.Builder
	for i := 0; many.Len() < 1<<20; i++ {
		many.WriteString("k" + strings.Repeat("x", i%7) + ": \n")
	}
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := range 60 {
		p, n := string(rune('0'+i)), string(rune('1'+i))
		bomb.WriteString("a" + n + ": &a" + n + " [*a" + p + ", *a" + p + "]\n")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"many": many.String(), "bomb": bomb.String(), "deep": strings.Repeat("[", 1<<20),
		"flow": "{" + strings.Repeat("a,", 1<<18) + "}", "long": strings.Repeat("#", maxTemplate+1)} {
		path := filepath.Join(dir, name)
		testkit.Write(t, path, text)
		if _, err := ReadTemplate(path); errs.Code(err) != 2 || !strings.Contains(err.Error(), "--passkey-template") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %.200v", name, err)
		}
	}
	if _, err := ReadTemplate(dir); errs.Code(err) != 2 || !strings.Contains(err.Error(), "a folder") {
		t.Errorf("a folder: %v", err)
	}
	silent := Template{Filler: "   ", Fact: "f {key}", Question: "q", Answer: " {key}"}
	if _, err := silent.Make(words{}, 1<<20, 0, 1, 0, 0); errs.Code(err) != 4 || !strings.Contains(err.Error(), "the filler gives no tokens") {
		t.Errorf("a filler without tokens: %v", err)
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{words4, words4 + "keys: [a, 1, ~]\nnames: &n [*n]\n", "a: &a [*a, *a]", "{filler: \" \", fact: {key}}", "--- |\n x\n...\n---\n", "? a\n: b", "!!binary aGk="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		x, err := parseTemplate(b)
		if err != nil {
			return
		}
		const ctx = 64
		trial, err := x.Make(words{}, ctx, 1, 2, 0, 7)
		if err != nil {
			if errs.Code(err) != 4 {
				t.Errorf("%q: %v", b, err)
			}
			return
		}
		if n := len(trial.Prompt) + len(trial.Answer); n > ctx || len(trial.Answer) == 0 {
			t.Errorf("%q: %d tokens, the answer %d", b, n, len(trial.Answer))
		}
	})
}
