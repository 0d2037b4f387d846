package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// Each tokenizer has llama.cpp's name for it, or is refused by the field that it has none for. That llama.cpp makes the
// same ids of the texts of the cases is what scripts/export/judge.py holds.
func TestVocabulary(t *testing.T) {
	want := map[string]string{ // model and pre; or what a refusal names
		"gpt2": "gpt2 gpt-2", "smollm2": "gpt2 smollm", "llama3": "gpt2 dbrx", "qwen2": "gpt2 qwen2", "gpt4o": "gpt2 gpt-4o",
		"tekken": "gpt2 tekken", "deepseek-coder": "gpt2 deepseek-coder", "deepseek-v3": "gpt2 deepseek-v3",
		"llama2": "llama default", "llama2-always": "llama default", "llama2-first": "llama default", "llama2-never": "llama default",
		"gemma": "spaces in a text", "phi3": "llama default", "gpt-neox": "gpt2 gpt-2",
		"model": "llama default", "model-plain": "llama default",
		"model-squeeze": "remove_extra_whitespaces", "bloom": "pre_tokenizer", "borders": "pre_tokenizer", "changes": "NFKC",
		"nfkd": "NFKD", "prefix": "add_prefix_space", "metaspace": "byte_fallback", "words": "byte_fallback", "falcon": "byte_fallback",
		"llm-jp": "a Unigram model", "unigram-words": "a Unigram model", "model-unigram": "a Unigram model",
		"deepseek-llm": "pre_tokenizer", // a shorter class of letters than the model's own
	}
	for name := range readCases(t).IDs {
		tk, err := Load(filepath.Join(casesDir, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		rows := tk.Size() + 3
		v, err := tk.Vocabulary(rows)
		if err != nil {
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), want[name]) || strings.HasSuffix(want[name], "default") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := v.Model + " " + v.Pre; got != want[name] {
			t.Errorf("%s: %s, want %s", name, got, want[name])
		}
		judgeVocabulary(t, name, tk, v, rows)
	}
	if n := len(readCases(t).IDs); n != len(want) {
		t.Errorf("%d tokenizers, %d judged", n, len(want))
	}
}

// judgeVocabulary checks that each row has a text of its own, of the type that it has, and that the parts fit together.
func judgeVocabulary(t *testing.T, name string, tk *Tokenizer, v *Vocabulary, rows int) {
	t.Helper()
	seen := map[string]bool{}
	for i, s := range v.Tokens {
		id, ok := tk.ID(s)
		switch {
		case s == "" || seen[s]:
			t.Errorf("%s: token %d, %q, is empty or there twice", name, i, s)
		case i >= tk.Size() && v.Types[i] != UnusedToken:
			t.Errorf("%s: row %d beyond the tokenizer is of type %d", name, i, v.Types[i])
		case i < tk.Size() && (!ok || int(id) != i):
			t.Errorf("%s: token %d is %q, whose id is %d, %v", name, i, s, id, ok)
		}
		seen[s] = true
	}
	for _, a := range tk.added {
		if want := map[bool]PieceType{true: ControlToken, false: UserToken}[a.Special]; v.Types[a.ID] != want && v.Types[a.ID] != UnknownToken {
			t.Errorf("%s: %q is of type %d, want %d", name, a.Content, v.Types[a.ID], want)
		}
	}
	if byBytes := v.Model == "gpt2"; len(v.Tokens) != rows || len(v.Types) != rows || byBytes != (len(v.Merges) > 0) || byBytes != (v.Scores == nil) || !byBytes && len(v.Scores) != rows {
		t.Errorf("%s: %d tokens, %d types, %d scores, %d merges in %d rows", name, len(v.Tokens), len(v.Types), len(v.Scores), len(v.Merges), rows)
	}
	if bos, ok := tk.BOS(); ok && v.Named["bos"] != bos {
		t.Errorf("%s: bos is %d, want %d", name, v.Named["bos"], bos)
	}
	if !slices.Contains(v.Types, ByteToken) && v.Model == "llama" {
		t.Errorf("%s: no token is a byte's", name)
	}
	few, err := tk.Vocabulary(100)
	if err != nil || len(few.Tokens) != 100 || !strings.Contains(strings.Join(few.Notes, ""), "the model 100 rows") {
		t.Errorf("%s: in 100 rows: %v, %q", name, err, few.Notes)
	}
}

// changed is a case's tokenizer.json with something else in it.
func changed(t *testing.T, name string, change func(f map[string]any)) *Tokenizer {
	t.Helper()
	dir := t.TempDir()
	var f map[string]any
	testkit.ReadJSON(t, filepath.Join(casesDir, name, "tokenizer.json"), &f)
	change(f)
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	tk, err := Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return tk
}

// The name depends on ignore_merges; where llama.cpp has none for what the file says, the two must come to the same.
func TestVocabularyIgnoresMerges(t *testing.T) {
	whole := func(f map[string]any) { f["model"].(map[string]any)["ignore_merges"] = true }
	v, err := changed(t, "llama3", whole).Vocabulary(600)
	if err != nil || v.Pre != "llama-bpe" {
		t.Errorf("llama3 with ignore_merges: %v", err)
	}
	for name, change := range map[string]func(f map[string]any){"qwen2": whole, "tekken": func(map[string]any) {}} {
		cut := func(f map[string]any) { // a token that no merges lead to any more
			change(f)
			m := f["model"].(map[string]any)
			m["merges"] = m["merges"].([]any)[:50]
		}
		if _, err := changed(t, name, change).Vocabulary(600); err != nil {
			t.Errorf("%s, where all tokens are merges': %v", name, err)
		}
		tk := changed(t, name, cut)
		if _, err := tk.Vocabulary(600); err == nil || !strings.Contains(err.Error(), "ignore_merges") {
			t.Errorf("%s, where tokens are not: %v", name, err)
		} else if _, again := tk.Vocabulary(600); again == nil || again.Error() != err.Error() { // the first one is named
			t.Errorf("%s: %v, then %v", name, err, again)
		}
	}
}

// Whole words that GPT-2 cuts, with no merges that make them, have a name where LLaMA 3 cuts each as one word too; a
// number behind a space is none there.
func TestVocabularyOfWholeWords(t *testing.T) {
	text := string(testkit.Read(t, "../../testdata/demo/model/tokenizer.json"))
	for token, want := range map[string]string{"Ġgulvok": "llama-bpe", "Ġ77": "", "gul'vok": ""} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, "tokenizer.json"), strings.Replace(text, `"Ġgulvok"`, `"`+token+`"`, 1))
		tk, err := Load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		switch v, err := tk.Vocabulary(tk.Size()); {
		case want == "":
			if err == nil || !strings.Contains(err.Error(), "ignore_merges") {
				t.Errorf("%s: %v", token, err)
			}
		case err != nil || v.Pre != want || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "not as GPT-2"):
			t.Errorf("%s: %v, %v", token, err, v)
		}
	}
}

// Merges that scores cannot order, or joins that are no merges, are refused.
func TestVocabularyScores(t *testing.T) {
	merges := func(change func(m []any) []any) func(f map[string]any) {
		return func(f map[string]any) {
			m := f["model"].(map[string]any)
			m["merges"] = change(m["merges"].([]any))
		}
	}
	for name, c := range map[string]struct {
		change func(m []any) []any
		says   string
	}{
		"one missing":    {func(m []any) []any { return m[:len(m)-1] }, "are not merged"},
		"the first last": {func(m []any) []any { return append(m[1:], m[0]) }, ""},
	} {
		_, err := changed(t, "llama2", merges(c.change)).Vocabulary(800)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, err := changed(t, "llama2", merges(func(m []any) []any { return append(m[1:], m[0]) })).Vocabulary(800)
	if err != nil {
		t.Fatal(err)
	}
	w, err := changed(t, "llama2", func(map[string]any) {}).Vocabulary(800)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(v.Scores, w.Scores) {
		t.Error("another order of merges gives the same scores")
	}
}

// White space that special tokens take is noted, or left to the name that llama.cpp goes by.
func TestVocabularyStrips(t *testing.T) {
	strips := func(all bool) func(f map[string]any) {
		return func(f map[string]any) {
			for _, a := range f["added_tokens"].([]any) {
				a := a.(map[string]any)
				plain := slices.Contains(unstripped, a["content"].(string))
				a["rstrip"] = !plain && (all || a["content"] != "</s>")
			}
			f["added_tokens"] = append(f["added_tokens"].([]any), map[string]any{"id": 700, "content": "<|x|>", "special": true,
				"rstrip": true, "lstrip": false, "normalized": false, "single_word": false})
		}
	}
	v, err := changed(t, "llama2", strips(true)).Vocabulary(800)
	if err != nil || !v.Strips || len(v.Notes) > 0 {
		t.Errorf("all strip: %v, %v", err, v)
	}
	v, err = changed(t, "llama2", strips(false)).Vocabulary(800)
	if err != nil || v.Strips || len(v.Notes) != 1 || !strings.Contains(v.Notes[0], "<|x|>") {
		t.Errorf("one does not: %v, %v", err, v)
	}
}

// Gemma's runs of spaces are tokens that merges make: llama.cpp joins spaces to them, and writes them as spaces.
func TestVocabularyOfSpaces(t *testing.T) {
	tk := changed(t, "llama2", func(f map[string]any) {
		m := f["model"].(map[string]any)
		m["vocab"].(map[string]any)["▁▁"] = 700
		m["merges"] = append([]any{[]string{"▁", "▁"}}, m["merges"].([]any)...)
		f["added_tokens"] = append(f["added_tokens"].([]any), map[string]any{"id": 700, "content": "▁▁", "special": false,
			"rstrip": false, "lstrip": false, "normalized": false, "single_word": false})
	})
	v, err := tk.Vocabulary(701)
	if err != nil || v.Types[700] != NormalToken || v.Tokens[700] != "▁▁" {
		t.Errorf("%v, %v", err, v)
	}
}

// A byte that has no token is named, unless no text can have it: SmolLM2's vocabulary lacks some of either kind.
func TestMissingBytes(t *testing.T) {
	whole := testkit.Read(t, filepath.Join(casesDir, "smollm2/tokenizer.json"))
	for byte, noted := range map[byte]bool{0x04: true, 0xc0: false, 0xff: false} {
		name, err := json.Marshal(string(byteRunes[byte]))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(whole), string(name)+":", `"no byte":`, 1)
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, "tokenizer.json"), text)
		tk, err := Load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := tk.Vocabulary(tk.Size())
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(strings.Join(v.Notes, "\n"), "no token for the bytes 0x04;"); said != noted || text == string(whole) {
			t.Errorf("%#x: %q", byte, v.Notes)
		}
	}
}
