package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// A small file whose work grows much faster than its length is refused by name, or is done in time.
func TestHostileTokenizers(t *testing.T) {
	if testkit.Race {
		t.Skip("one goroutine, and counted steps")
	}
	many := func(n int, v any) []any { return slices.Repeat([]any{v}, n) }
	replace := func(from, to string) map[string]any {
		return map[string]any{"type": "Replace", "pattern": map[string]any{"String": from}, "content": to}
	}
	nested := func(list string, leaf any, deep int) any {
		for range deep {
			leaf = map[string]any{"type": "Sequence", list: []any{leaf}}
		}
		return leaf
	}
	split := func(p string) map[string]any {
		return map[string]any{"type": "Split", "pattern": map[string]any{"Regex": p}, "behavior": "Isolated"}
	}
	bos := map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>"}}, map[string]any{"Sequence": map[string]any{}}},
		"special_tokens": map[string]any{"<s>": map[string]any{"ids": slices.Repeat([]int{0}, 1000)}}}
	token := func(s string, more ...string) map[string]any {
		m := map[string]any{"id": 300, "content": s}
		for _, k := range more {
			m[k] = true
		}
		return m
	}
	var names []any
	for i := range 50_000 {
		names = append(names, token(fmt.Sprintf("<|reserved_special_token_%d|>", i)))
	}
	ab := strings.Repeat("ab", 1<<19)
	for name, c := range map[string]struct {
		field string
		v     any
		text  string
		say   string // "": it is encoded
	}{
		"many normalizers":         {"normalizer", map[string]any{"type": "Sequence", "normalizers": many(1000, replace("x", "y"))}, ab, "more than 64 parts"},
		"normalizers in depth":     {"normalizer", nested("normalizers", replace("x", "y"), 1000), "a", "within one another"},
		"normalizers that grow":    {"normalizer", map[string]any{"type": "Sequence", "normalizers": many(9, replace("a", strings.Repeat("a", 10)))}, "aaaa", "write more than"},
		"many pre-tokenizers":      {"pre_tokenizer", map[string]any{"type": "Sequence", "pretokenizers": many(1000, split("a+"))}, ab, "more than 64 parts"},
		"a pattern on each piece":  {"pre_tokenizer", map[string]any{"type": "Sequence", "pretokenizers": []any{split(`[^!]+`), split(`(?=.*x).`)}}, strings.Repeat(strings.Repeat("b", 4000)+"x!", 250), "too many steps"},
		"pre-tokenizers in depth":  {"pre_tokenizer", nested("pretokenizers", split("a+"), 2000), "a", "within one another"},
		"a long prefix":            {"post_processor", bos, "a", "in front of a text"},
		"many post-processors":     {"post_processor", map[string]any{"type": "Sequence", "processors": many(1000, map[string]any{"type": "ByteLevel"})}, "a", "more than 64 parts"},
		"decoders that grow":       {"decoder", map[string]any{"type": "Sequence", "decoders": many(9, replace("a", strings.Repeat("a", 10)))}, "a", "letters for one"},
		"decoders in depth":        {"decoder", nested("decoders", replace("a", "b"), 1000), "a", "within one another"},
		"tokens that begin alike":  {"added_tokens", names, strings.Repeat("<|reserved_special_token_4999", 1<<15), ""},
		"tokens almost as long":    {"added_tokens", []any{token(strings.Repeat("ab", 1<<15) + "c")}, ab, "added tokens"},
		"white space on the left":  {"added_tokens", []any{token("\n", "lstrip")}, strings.Repeat("\n", 1<<19), ""},
		"white space on the right": {"added_tokens", []any{token("\n", "rstrip")}, strings.Repeat("\n", 1<<19), ""},
		"a long word":              {"pre_tokenizer", map[string]any{"type": "ByteLevel", "add_prefix_space": false}, strings.Repeat("hello", 1<<18), ""},
	} {
		began := time.Now()
		tk, err := Load(small(t, func(d map[string]any) { d[c.field] = c.v }), nil)
		if err == nil {
			_, err = tk.Encode(c.text)
		}
		if took := time.Since(began); took > 2*time.Minute { // one of these without its bound takes hours
			t.Errorf("%s: %v", name, took)
		}
		switch {
		case c.say == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.say != "" && (errs.Code(err) != 4 || !strings.Contains(err.Error(), c.say) || !strings.Contains(err.Error(), "tokenizer.json")):
			t.Errorf("%s: %v, want one that says %q", name, err, c.say)
		case err != nil && len(err.Error()) > 1000:
			t.Errorf("%s: a message of %d bytes", name, len(err.Error()))
		}
	}
	tk, err := Load(small(t, func(d map[string]any) {
		d["decoder"] = map[string]any{"type": "Sequence", "decoders": []any{map[string]any{"type": "Fuse"},
			map[string]any{"type": "Replace", "pattern": map[string]any{"Regex": `(?=.*x).`}, "content": ""}}}
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := tk.Decode(encode(t, tk, strings.Repeat("hello ", 1<<13)+"x")); errs.Code(err) != 4 || !strings.Contains(err.Error(), "tokenizer.json: decoder: ") || s != "" {
		t.Errorf("a decoder without an end: %d bytes, %v", len(s), err)
	}
	_, err = Load(small(t, func(d map[string]any) {
		d["model"].(map[string]any)["end_of_word_suffix"] = strings.Repeat("</w>", 1000)
	}), nil)
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), "end_of_word_suffix") {
		t.Errorf("a long suffix: %v", err)
	}
	_, err = Load(writeFiles(t, map[string][]byte{"tokenizer.model": smallModel(piece(strings.Repeat("ab", 1<<20), 0, normalPiece), nil, nil)}), nil)
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), "piece 9 has 2097152 bytes") {
		t.Errorf("a long piece: %v", err)
	}
	fields := map[string]string{}
	for i := range 50_000 {
		fields[fmt.Sprintf("x%d_token", i)] = fmt.Sprintf("<x%d>", i)
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	tk, err = Load(writeAround(t, "gpt2", nil, map[string]json.RawMessage{"tokenizer_config.json": b}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ids := encode(t, tk, "<x7><x49999>"); len(ids) != 2 || time.Since(began) > 20*time.Second {
		t.Errorf("50,000 fields: %v, in %v", ids, time.Since(began))
	}
}

// Of added tokens that begin alike the longest is found, whatever stands beside it in the list.
func TestLongestAddedToken(t *testing.T) {
	list := []string{"<", "<|", "<|a", "<|a|>", "<|ab|>", "<|b|>", "a<", "  ", "   "}
	var tokens []addedToken
	for i, s := range list {
		tokens = append(tokens, addedToken{ID: int32(i), Content: s})
	}
	a := newAddedTokens(tokens, false)
	for _, s := range []string{"<|a|>x", "<|ab|", "<|abc", "<|b|>", "<", "<x", "a<|b|>", "     ", "x"} {
		want := ""
		for _, c := range list {
			if strings.HasPrefix(s, c) && len(c) > len(want) {
				want = c
			}
		}
		got := ""
		k, err := a.at(s, newBound(len(s)))
		if err != nil {
			t.Fatal(err)
		}
		if k >= 0 {
			got = a.list[k].Content
		}
		if got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
