package eval

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/tokenizer"
)

// straw is a haystack of sentences in several scripts.
func straw() *haystack {
	var b strings.Builder
	for i := range 300 {
		fmt.Fprintf(&b, "Line %d of the story, told once more! ", i)
		if i%7 == 0 {
			b.WriteString("Größe ist alles.\n\n山の上に雪がある。")
		}
	}
	return newHaystack(b.String())
}

// Every sample fills its context to the last unit of filler with either tokenizer, is a function of (seed, ctx, trial)
// alone, and gives a perfect answer everything and an empty one nothing.
func TestRulerSamples(t *testing.T) {
	other, err := tokenizer.Load("../tokenizer/testdata/cases/qwen2", nil)
	if err != nil {
		t.Fatal(err)
	}
	const seed = 5
	for name, enc := range map[string]*tokenizer.Tokenizer{"golden": golden(t), "qwen2": other} {
		for _, task := range subtasks {
			var first Sample
			for _, ctx := range []int{3000, 8000, 3000} {
				x, err := task.sample(enc, straw(), ctx, 1, seed)
				if err != nil {
					t.Fatal(err)
				}
				s, e := task.make(newDrawing(task.name, straw(), seed, ctx, 1)), &encoding{enc: enc}
				one := len(e.withBOS(s.text(x.Units+1))) - len(x.Prompt)
				if left := ctx - len(x.Prompt) - x.Room; left < 0 || left >= one {
					t.Errorf("%s, %s at %d: %d tokens are left, one more unit takes %d", name, task.name, ctx, left, one)
				}
				for _, r := range x.References {
					if n := strings.Count(s.text(x.Units), r); n < 1 {
						t.Errorf("%s: %s is not in the text", task.name, r)
					}
				}
				all := strings.Join(x.References, " and ")
				perfect, none := x.judge(" They are "+strings.ToUpper(all)+"."), x.judge("")
				if perfect.Found != len(x.References) || perfect.Of != perfect.Found || none.Found != 0 {
					t.Errorf("%s: a perfect answer %+v, an empty one %+v", task.name, perfect, none)
				}
				if len(e.ids(" "+all)) > x.Room {
					t.Errorf("%s: the answer does not fit its room of %d tokens", task.name, x.Room)
				}
				if ctx == 8000 {
					continue
				}
				same := slices.Equal(first.Prompt, x.Prompt) && slices.Equal(first.References, x.References)
				if first.Prompt != nil && !same {
					t.Errorf("%s: another sample for the same seed", task.name)
				}
				first = x
			}
			for _, c := range [][3]int{{3000, 2, seed}, {3000, 1, seed + 1}} {
				x, err := task.sample(enc, straw(), c[0], c[1], uint64(c[2]))
				if err != nil || slices.Equal(x.Prompt, first.Prompt) {
					t.Errorf("%s: the same sample for another trial or seed: %v", task.name, err)
				}
			}
		}
	}
}

// What is asked for is what the text says, at any length.
func TestRulerReferences(t *testing.T) {
	given := regexp.MustCompile(`(?:registry number of the|The item) ([a-z ]+|\S{36}) (?:is|has the code) (\S+)\.`)
	set := regexp.MustCompile(`The variable (\w+) is set to (?:the value of )?(\w+)\.`)
	facts := func(form *regexp.Regexp, text string) map[string][]string {
		out := map[string][]string{}
		for _, m := range form.FindAllStringSubmatch(text, -1) {
			out[m[1]] = append(out[m[1]], m[2])
		}
		return out
	}
	for _, task := range subtasks {
		for trial := range 5 {
			s := task.make(newDrawing(task.name, straw(), 9, 1, trial))
			for _, n := range []int{s.least, s.least + 1, s.least + 17, s.least + 59, 700} {
				text := s.text(n)
				var want []string
				question := s.after[:strings.Index(s.after, "?")]
				switch task.name {
				case "niah", "niah_words", "niah_uuids", "hay_single", "hay_multikey", "hay_multivalue", "hay_multiquery":
					for key, values := range facts(given, text) {
						if strings.Contains(question, key) {
							want = append(want, values...)
						}
					}
				case "vt":
					value := regexp.MustCompile(`\d{5}`).FindString(question)
					values := map[string]string{}
					for _, m := range set.FindAllStringSubmatch(text, -1) {
						v := m[2]
						if passed, ok := values[v]; ok {
							v = passed
						}
						if values[m[1]] = v; v == value {
							want = append(want, m[1])
						}
					}
				case "cwe":
					want = mostFrequent(text[strings.Index(text, "\n\n"):strings.LastIndex(text, "\n\n")], common)
				case "fwe":
					want = mostFrequent(text[strings.Index(text, "\n\n"):strings.LastIndex(text, "\n\n")], frequent)
				}
				got := slices.Clone(s.refs)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("%s, trial %d, %d units: asked for %q, the text says %q; %s",
						task.name, trial, n, got, want, question)
				}
			}
		}
	}
}

// mostFrequent are the n most frequent words of a text, and those as frequent as the last of them.
func mostFrequent(text string, n int) (out []string) {
	count := map[string]int{}
	for _, w := range strings.Fields(text) {
		count[w]++
	}
	var all []int
	for _, c := range count {
		all = append(all, c)
	}
	slices.Sort(all)
	for w, c := range count {
		if c >= all[len(all)-n] {
			out = append(out, w)
		}
	}
	return out
}

// No name of a thing holds another's, so that an answer with one is not taken for the other.
func TestRulerWords(t *testing.T) {
	for _, list := range [][]string{qualities, looks, nouns, sentences} {
		for i, a := range list {
			for j, b := range list {
				if i != j && (a == b || len(list) == len(nouns) && strings.Contains(a, b)) {
					t.Errorf("%q holds %q", a, b)
				}
			}
		}
	}
}

// Too short and too long are said by the subtask's name.
func TestRulerLengths(t *testing.T) {
	enc := golden(t)
	for _, task := range subtasks {
		e := evaluation{enc: enc, hay: straw()}
		e.cfg.Trials = 2
		err := e.rulerFits(enc, 60)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), "--ctx 60 is too short for ") || !strings.Contains(err.Error(), task.name+" (") {
			t.Errorf("%s: %v", task.name, err)
		}
		n, least := 0, 60 // what is drawn depends on the length
		for n < least {
			n = least
			if least, err = task.takes(enc, straw(), n, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		if x, err := task.sample(enc, straw(), n, 0, 0); err != nil || len(x.Prompt)+x.Room > n {
			t.Errorf("%s: %d tokens are said to do: %d and %d for the answer, %v", task.name, n, len(x.Prompt), x.Room, err)
		}
		if _, late := task.sample(enc, straw(), 60, 0, 0); errs.Code(late) != 4 {
			t.Errorf("%s: %v", task.name, late)
		}
	}
	few := subtask{"few", false, func(g *drawing) script {
		return script{refs: []string{"a"}, units: 3, filler: endless(func() string { return "a b c " })}
	}}
	if _, err := few.sample(enc, nil, 3000, 0, 0); errs.Code(err) != 4 || !strings.Contains(err.Error(), "too long: its 3 lines") {
		t.Errorf("too long: %v", err)
	}
}

// The search gives what trying every length does, and encodes few prompts.
func TestMost(t *testing.T) {
	for _, c := range []struct{ per, wave, fixed, ctx, least int }{
		{1, 0, 3, 100, 0}, {7, 0, 30, 4096, 0}, {7, 5, 30, 131072, 3}, {30, 20, 10, 700, 0}, {100, 90, 10, 131072, 2},
		{3, 0, 3000, 3009, 0}, {400, 0, 3, 500, 1}, {2, 1, 0, 1 << 20, 0},
	} {
		size := func(n int) int { return c.fixed + c.per*n + c.wave*(n%5)/5 + c.wave*(n/5) }
		calls := 0
		got, err := most(func(n int) int { calls++; return size(n) }, c.ctx, c.least)
		if err != nil || size(got) > c.ctx || size(got+1) <= c.ctx || calls > 12 {
			t.Errorf("%+v: %d of %d tokens, one more %d, in %d calls: %v", c, got, size(got), size(got+1), calls, err)
		}
	}
	steps := func(n int) int { return 10 + n/3 } // a unit that gives no token now and then
	if n, err := most(steps, 1000, 0); err != nil || steps(n) != 1000 || steps(n+1) != 1001 {
		t.Errorf("%d: %v", n, err)
	}
	for _, size := range []func(int) int{func(int) int { return 5 }, func(n int) int { return n / 100 }} {
		if n, err := most(size, 1000, 0); errs.Code(err) != 4 || !strings.Contains(err.Error(), "gives no tokens") {
			t.Errorf("%d: %v", n, err)
		}
	}
}

// The standard error is that of a mean of means.
func TestOverall(t *testing.T) {
	score, stderr := overall([][]float64{{0, 1, 1, 0}, {1, 1, 1, 1}})
	if want := math.Sqrt(1./3/4) / 2; score != 0.75 || math.Abs(stderr-want) > 1e-15 {
		t.Errorf("%v ± %v, want 0.75 ± %v", score, stderr, want)
	}
	score, stderr = overall([][]float64{{0}, {1}, {1}, {1}})
	if want := math.Sqrt(0.25 / 4); score != 0.75 || math.Abs(stderr-want) > 1e-15 {
		t.Errorf("one trial each: %v ± %v, want 0.75 ± %v", score, stderr, want)
	}
}

// A haystack may be compressed or UTF-16; what is no text is refused by name.
func TestReadHaystack(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"plain.txt":   {"Ein Satz.  Noch\neiner", ""},
		"marked.txt":  {"\xef\xbb\xbfEin Satz.  Noch\neiner", ""},
		"wide.txt":    {"\xff\xfe" + strings.Join(strings.Split("Ein Satz.  Noch\neiner", ""), "\x00") + "\x00", ""},
		"latin.txt":   {"Ein Satz.  Noch\neiner \xe9", ""},
		"blank.txt":   {" \n\t ", "no words"},
		"empty.txt":   {"", "empty"},
		"x.jsonl":     {"{}", "no plain text"},
		"x.bin":       {"abcd", "no plain text"},
		"really.txt":  {"%PDF-1.4 \x00\x01", "a PDF document"},
		"damaged.txt": {"\xff\xfe\x00\x00", "UTF-32"},
	} {
		path := filepath.Join(dir, name)
		testkit.Write(t, path, c.text)
		h, note, err := readHaystack(path)
		if strings.Contains(note, "no UTF-8") != (name == "latin.txt") {
			t.Errorf("%s: note %q", name, note)
		}
		if c.want != "" {
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v", name, err)
			}
		} else if got := strings.TrimSuffix(strings.Join(h.words, "|"), "|\uFFFD\n\n"); err != nil ||
			strings.TrimSpace(got) != "Ein |Satz.  |Noch\n|einer" {
			t.Errorf("%s: %q, %v", name, h, err)
		}
	}
	if _, _, err := readHaystack(filepath.Join(dir, "missing")); errs.Code(err) != 4 {
		t.Errorf("missing: %v", err)
	}
}

// Whatever the text, words joined are the text again and none is long; a sample of it stays within its context.
func FuzzHaystack(f *testing.F) {
	for _, s := range []string{"a b", "no end", strings.Repeat("x", 200), "山の上に雪がある。", "\u00a0\u2003x\r\n\r\ny", "\xff\xfe",
		"1.\n2.\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := newHaystack(text)
		if h == nil {
			if strings.TrimSpace(text) != "" {
				t.Errorf("%q has no words", text)
			}
			return
		}
		if all := strings.Join(h.words, ""); all != strings.TrimSpace(text)+"\n\n" {
			t.Errorf("%q became %q", text, all)
		}
		for _, w := range h.words {
			if len(w) > longestWord+3 {
				t.Errorf("a word of %d bytes", len(w))
			}
		}
		x, err := subtasks[len(subtasks)-1].sample(words{}, h, 300, 0, 1)
		if err == nil && len(x.Prompt)+x.Room > 300 || err != nil && errs.Code(err) != 4 {
			t.Errorf("%d tokens, %v", len(x.Prompt)+x.Room, err)
		}
	})
}
