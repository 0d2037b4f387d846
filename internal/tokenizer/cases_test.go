package tokenizer

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"longlora/internal/testkit"
)

// casesDir holds small tokenizers and what the tokenizers and sentencepiece libraries make of some texts
// (scripts/gen-tokenizer-cases.py).
const casesDir = "testdata/cases"

type libraryCases struct {
	Texts   []string
	IDs     map[string][][]int32
	Decoded map[string][]string
	Spans   map[string][][][2]int
}

func readCases(t testing.TB) *libraryCases {
	t.Helper()
	blob := testkit.Read(t, filepath.Join(casesDir, "cases.json"))
	c := &libraryCases{}
	if err := json.Unmarshal(blob, c); err != nil {
		t.Fatal(err)
	}
	if len(c.Texts) < 80 || len(c.IDs) < 18 {
		t.Fatalf("%d texts, %d tokenizers", len(c.Texts), len(c.IDs))
	}
	return c
}

func encode(t testing.TB, tk *Tokenizer, text string) []int32 {
	t.Helper()
	ids, err := tk.Encode(text)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// said is what a decoder gave.
func said(t testing.TB) func(s string, err error) string {
	return func(s string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func encodeSpans(t testing.TB, tk *Tokenizer, text string) ([]int32, []Span) {
	t.Helper()
	ids, spans, err := tk.EncodeSpans(text)
	if err != nil {
		t.Fatal(err)
	}
	return ids, spans
}

func loadCase(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tk, err := Load(filepath.Join(casesDir, name), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func TestIdsAndTextsAreTheLibrarys(t *testing.T) {
	c := readCases(t)
	for name, ids := range c.IDs {
		tk := loadCase(t, name)
		for i, text := range c.Texts {
			if ids[i] == nil {
				continue
			}
			got := encode(t, tk, text)
			if !slices.Equal(got, ids[i]) {
				t.Errorf("%s: %q: %v, want %v", name, text, got, ids[i])
			}
			if again, _ := encodeSpans(t, tk, text); !slices.Equal(again, got) {
				t.Errorf("%s: %q: with spans %v, without %v", name, text, again, got)
			}
			if c.Decoded[name] == nil {
				continue
			}
			if got := said(t)(tk.Decode(ids[i])); got != c.Decoded[name][i] {
				t.Errorf("%s: %v is %q, want %q", name, ids[i], got, c.Decoded[name][i])
			}
		}
	}
}

// The library counts spans in characters: one that begins or ends within a character is the whole of it there.
func TestSpansAreTheLibrarys(t *testing.T) {
	c := readCases(t)
	for name, spans := range c.Spans {
		tk := loadCase(t, name)
		for i, text := range c.Texts {
			ids, got := encodeSpans(t, tk, text)
			if len(got) != len(ids) || len(got) != len(spans[i]) {
				t.Fatalf("%s: %q: %d spans of %d tokens, want %d", name, text, len(got), len(ids), len(spans[i]))
			}
			for k, sp := range got {
				for sp.Start > 0 && sp.Start < len(text) && !utf8.RuneStart(text[sp.Start]) {
					sp.Start--
				}
				for sp.End < len(text) && !utf8.RuneStart(text[sp.End]) {
					sp.End++
				}
				if want := (Span{spans[i][k][0], spans[i][k][1]}); sp != want {
					t.Errorf("%s: %q: token %d has %v, want %v", name, text, k, sp, want)
				}
			}
		}
	}
}

// What a stream gives is at each point the beginning of the whole text, in whole characters.
func TestStreamGivesWholeCharacters(t *testing.T) {
	c := readCases(t)
	for _, name := range []string{"gpt2", "llama2", "model", "metaspace"} {
		tk := loadCase(t, name)
		for _, text := range c.Texts {
			ids := encode(t, tk, text)
			s, whole, got := tk.Stream(), said(t)(tk.Decode(ids)), ""
			for _, id := range ids {
				part := said(t)(s.Next(id))
				if !utf8.ValidString(part) {
					t.Errorf("%s: %q: part %q", name, text, part)
				}
				if got += part; !strings.HasPrefix(whole, got) {
					t.Errorf("%s: %q: so far %q of %q", name, text, got, whole)
				}
			}
			if got += said(t)(s.Rest()); got != whole {
				t.Errorf("%s: %q: %q streamed, %q at once", name, text, got, whole)
			}
		}
	}
}

func TestStreamHoldsAnUnfinishedCharacterBack(t *testing.T) {
	tk := load(t, func(map[string]any) {})
	ids := encode(t, tk, "a€")
	s := tk.Stream()
	var got []string
	for _, id := range ids {
		got = append(got, said(t)(s.Next(id)))
	}
	if want := []string{"a", "", "", "€"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	s = tk.Stream()
	for _, id := range ids[:3] {
		said(t)(s.Next(id))
	}
	if rest := said(t)(s.Rest()); rest != "\uFFFD" {
		t.Errorf("the rest of a cut character is %q", rest)
	}
}

// A text long enough for several goroutines encodes to what one makes of it.
func TestALongTextIsCutWithoutAnyEffect(t *testing.T) {
	c := readCases(t)
	var b strings.Builder
	for b.Len() < 100_000 {
		for _, text := range c.Texts {
			b.WriteString(text + " and so on ")
		}
	}
	for _, name := range []string{"gpt2", "llama3", "llama2", "llama2-first", "smollm2", "tekken"} {
		tk := loadCase(t, name)
		long := strings.ReplaceAll(b.String(), "<", "(")
		if tk.cuts == nil {
			t.Errorf("%s: no place to cut", name)
		}
		tk.longFrom = 1 << 14
		ids, spans := encodeSpans(t, tk, long)
		tk.cuts = nil
		want, wantSpans := encodeSpans(t, tk, long)
		if !slices.Equal(ids, want) || !slices.Equal(spans, wantSpans) {
			t.Errorf("%s: the parts encode to something else", name)
		}
	}
}

// A word of 100,000 letters takes time by its length, not by the square of it.
func TestAVeryLongWord(t *testing.T) {
	for _, name := range []string{"gpt2", "llama2", "model", "words"} {
		tk := loadCase(t, name)
		word := strings.Repeat("helloworldtheab", 100_000/15)
		ids := encode(t, tk, word)
		if name != "words" && strings.TrimPrefix(said(t)(tk.Decode(ids)), " ") != word {
			t.Errorf("%s: a long word does not come back", name)
		}
	}
}
