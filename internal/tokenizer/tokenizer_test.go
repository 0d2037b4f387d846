package tokenizer

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// small writes a byte-level tokenizer of 256 bytes, a few merges and two special tokens.
func small(t testing.TB, change func(map[string]any)) string {
	t.Helper()
	vocab := map[string]int{"<s>": 0, "</s>": 1}
	for _, r := range byteRunes {
		vocab[string(r)] = len(vocab)
	}
	merges := []string{"h e", "l l", "he ll", "Ġ w", "hell o", "o r"}
	for _, m := range []string{"he", "ll", "hell", "Ġw", "hello", "or", "Ġ!!"} {
		vocab[m] = len(vocab)
	}
	special := func(id int, s string) map[string]any {
		return map[string]any{"id": id, "content": s, "special": true}
	}
	doc := map[string]any{
		"added_tokens":   []any{special(0, "<s>"), special(1, "</s>")},
		"pre_tokenizer":  map[string]any{"type": "ByteLevel", "add_prefix_space": false},
		"post_processor": nil, "decoder": map[string]any{"type": "ByteLevel"},
		"model": map[string]any{"type": "BPE", "vocab": vocab, "merges": merges},
	}
	change(doc)
	dir := t.TempDir()
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	testkit.Write(t, filepath.Join(dir, "tokenizer.json"), b)
	return dir
}

func load(t testing.TB, change func(map[string]any)) *Tokenizer {
	t.Helper()
	tk, err := Load(small(t, change), []int{1})
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

func words(t testing.TB, tk *Tokenizer, text string) (out []string) {
	t.Helper()
	for _, id := range encode(t, tk, text) {
		out = append(out, tk.tokens[id])
	}
	return out
}

func TestMergesAndSpecials(t *testing.T) {
	tk := load(t, func(map[string]any) {})
	for text, want := range map[string][]string{
		"hello world":   {"hello", "Ġw", "or", "l", "d"},
		"hell</s>he !!": {"hell", "</s>", "he", "Ġ", "!", "!"},
		"":              nil,
		"é":             {"Ã", "©"},
	} {
		if got := words(t, tk, text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if id, ok := tk.EOS(); !ok || id != 1 {
		t.Errorf("EOS %d", id)
	}
	if _, ok := tk.BOS(); ok {
		t.Error("a BOS that no file asks for")
	}
}

func TestSpansAreTheTokensBytes(t *testing.T) {
	tk := load(t, func(map[string]any) {})
	ids, spans := encodeSpans(t, tk, "hello é</s> wor")
	if want := encode(t, tk, "hello é</s> wor"); !reflect.DeepEqual(ids, want) {
		t.Fatalf("%v, want %v", ids, want)
	}
	if want := []Span{{0, 5}, {5, 6}, {6, 7}, {7, 8}, {8, 12}, {12, 14}, {14, 16}}; !reflect.DeepEqual(spans, want) {
		t.Errorf("%v, want %v", spans, want)
	}
	tk = load(t, func(d map[string]any) {
		d["pre_tokenizer"] = map[string]any{"type": "ByteLevel", "add_prefix_space": true}
	})
	if _, spans = encodeSpans(t, tk, "wor"); !reflect.DeepEqual(spans, []Span{{0, 1}, {1, 3}}) {
		t.Errorf("with a space put in: %v", spans)
	}
}

func TestIgnoreMergesTakesWholeWords(t *testing.T) {
	tk := load(t, func(d map[string]any) { d["model"].(map[string]any)["ignore_merges"] = true })
	if got := words(t, tk, "x !!"); !reflect.DeepEqual(got, []string{"x", "Ġ!!"}) {
		t.Errorf("%q", got)
	}
}

// White space that a token takes on its right is no token of its own where one would take it on its left.
func TestWhiteSpaceIsTakenOnce(t *testing.T) {
	token := func(id int, content string, left, right bool) map[string]any {
		return map[string]any{"id": id, "content": content, "lstrip": left, "rstrip": right}
	}
	for _, c := range []struct {
		left, right bool
		text        string
		want        []string
	}{
		{true, true, "\n\n", []string{"\n"}},
		{true, true, "h \n \n h\n", []string{"h", "\n", "h", "\n"}},
		{true, true, "h \n\th", []string{"h", "\n", "h"}},
		{true, false, "h\n\nh", []string{"h", "\n", "\n", "h"}},
		{false, true, "h\n\nh", []string{"h", "\n", "\n", "h"}},
		{true, true, "\t\n", []string{"\t", "\n"}},
	} {
		tk := load(t, func(m map[string]any) {
			m["added_tokens"] = append(m["added_tokens"].([]any), token(300, "\n", c.left, c.right), token(301, "\t", true, false))
		})
		if got := words(t, tk, c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestInvalidUTF8IsReplaced(t *testing.T) {
	for in, want := range map[string]string{"a\xffb": "a\ufffdb", "\xe2\x82": "\ufffd", "\xf0\x9f\x98x": "\ufffdx", "\xed\xa0\x80": "\ufffd\ufffd\ufffd"} {
		if got := ReplaceInvalid(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestWhatIsNotSupportedIsNamed(t *testing.T) {
	bos := map[string]any{"SpecialToken": map[string]any{"id": "h"}}
	set := func(path string, v any) func(map[string]any) {
		return func(d map[string]any) {
			parts := strings.Split(path, ".")
			for _, p := range parts[:len(parts)-1] {
				d = d[p].(map[string]any)
			}
			d[parts[len(parts)-1]] = v
		}
	}
	typed := func(name string, more ...any) map[string]any {
		m := map[string]any{"type": name}
		for i := 0; i < len(more); i += 2 {
			m[more[i].(string)] = more[i+1]
		}
		return m
	}
	regex := func(p string) map[string]any { return map[string]any{"Regex": p} }
	split := func(p string) map[string]any { return typed("Split", "pattern", regex(p), "behavior", "Isolated") }
	for _, c := range []struct {
		path string
		v    any
		say  string
	}{
		{"normalizer", typed("Precompiled"), `"Precompiled"`},
		{"normalizer", typed("Sequence", "normalizers", []any{typed("Nmt")}), `"Nmt"`},
		{"pre_tokenizer", typed("BertPreTokenizer"), `"BertPreTokenizer"`},
		{"pre_tokenizer", typed("Split", "pattern", regex("a"), "behavior", "Sideways"), `"Sideways"`},
		{"pre_tokenizer", split(`(a)\1`), `\1`},
		{"pre_tokenizer", split(`\p{Klingon}`), `\p{Klingon}`},
		{"pre_tokenizer", split(`(?i:stop)`), `st`},
		{"pre_tokenizer", split(`a{2}+`), `a{2}+`},
		{"pre_tokenizer", split(`(\s*\s*)*x`), `match nothing`},
		{"pre_tokenizer", split(`(a`), `)`},
		{"pre_tokenizer", typed("Metaspace", "replacement", "_", "prepend_scheme", "last"), `"last"`},
		{"post_processor", typed("BertProcessing"), `"BertProcessing"`},
		{"post_processor", typed("TemplateProcessing", "single", []any{bos, bos, map[string]any{"Sequence": map[string]any{}}},
			"special_tokens", map[string]any{"h": map[string]any{"ids": []int{0}}}), "2 tokens in front"},
		{"decoder", typed("WordPiece"), `"WordPiece"`},
		{"model.type", "WordPiece", `"WordPiece"`},
		{"model.type", "Unigram", `model.vocab: {"`},
		{"model.dropout", 0.1, "model.dropout"},
		{"model.unk_token", "<none>", "model.unk_token"},
		{"model.merges", []string{"h e l"}, "model.merges[0]"},
		{"model.merges", []string{"h zz"}, "model.merges[0]"},
		{"model.vocab", map[string]any{"a": 0, "b": 0}, "model.vocab"},
	} {
		_, err := Load(small(t, set(c.path, c.v)), nil)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), "tokenizer.json") || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v, want one that names %s", c.path, err, c.say)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	tk := load(f, func(map[string]any) {})
	for _, s := range []string{"hello  world\n\n 12", "'s ſ \u00a0x", "\x00\xff", "日本語🙂"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := said(t)(tk.Decode(encode(t, tk, s))); got != ReplaceInvalid(s) {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
