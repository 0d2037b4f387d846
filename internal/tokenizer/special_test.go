package tokenizer

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// writeAround copies a case's tokenizer and writes files beside it; listed are added to those that tokenizer.json lists.
func writeAround(t *testing.T, base string, listed []any, beside map[string]json.RawMessage) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer.model"} {
		blob, err := os.ReadFile(filepath.Join(casesDir, base, name))
		if err != nil {
			continue
		}
		if len(listed) > 0 {
			var f map[string]any
			if err := json.Unmarshal(blob, &f); err != nil {
				t.Fatal(err)
			}
			f["added_tokens"] = append(f["added_tokens"].([]any), listed...)
			if blob, err = json.Marshal(f); err != nil {
				t.Fatal(err)
			}
		}
		testkit.Write(t, filepath.Join(dir, name), blob)
	}
	for name, blob := range beside {
		testkit.Write(t, filepath.Join(dir, name), blob)
	}
	return dir
}

// Tokens that only the files beside a tokenizer add have the ids and flags that transformers gives them
// (scripts/gen-special-cases.py).
func TestTokensOfTheConfigurationAreTransformers(t *testing.T) {
	blob := testkit.Read(t, "testdata/special.json")
	var all struct {
		Text  string
		Cases []struct {
			Base, Name, Error string
			Files             map[string]json.RawMessage
			Listed            []any
			IDs               []int32
			Tokens            map[string]int32
		}
	}
	if err := json.Unmarshal(blob, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Cases) < 90 {
		t.Fatalf("%d cases", len(all.Cases))
	}
	for _, c := range all.Cases {
		tk, err := Load(writeAround(t, c.Base, c.Listed, c.Files), []int{7})
		if c.Error != "" {
			if errs.Code(err) != 4 || !strings.Contains(err.Error(), "tokenizer_config.json: added_tokens_decoder: ") {
				t.Errorf("%s, %s: %v; transformers says: %s", c.Base, c.Name, err, c.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s, %s: %v", c.Base, c.Name, err)
			continue
		}
		got := map[string]int32{}
		for _, a := range tk.added {
			got[a.Content] = tk.ids[a.Content]
		}
		if _, ok := c.Tokens["<unk>"]; !ok { // a piece of a model, which transformers does not parse where unk_token is another
			delete(got, "<unk>")
		}
		if !maps.Equal(got, c.Tokens) {
			t.Errorf("%s, %s: added %v, want %v", c.Base, c.Name, got, c.Tokens)
		}
		if ids := encode(t, tk, all.Text); c.IDs != nil && !slices.Equal(ids, c.IDs) {
			t.Errorf("%s, %s: %v, want %v", c.Base, c.Name, ids, c.IDs)
		}
	}
}

// A field that is something else than transformers reads is refused by name.
func TestFaultsBesideATokenizer(t *testing.T) {
	for _, c := range []struct{ file, text, say string }{
		{"tokenizer_config.json", `{"added_tokens_decoder": [1]}`, "added_tokens_decoder"},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"x": {"content": "a"}}}`, `added_tokens_decoder: "x"`},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"-1": {"content": "a"}}}`, `added_tokens_decoder: "-1"`},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"99999999999": {"content": "a"}}}`, `added_tokens_decoder: "99999999999"`},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"600": {"special": true}}}`, "added_tokens_decoder: 600"},
		{"tokenizer_config.json", `{"extra_special_tokens": 5}`, "extra_special_tokens"},
		{"tokenizer_config.json", `{"extra_special_tokens": [5]}`, "extra_special_tokens"},
		{"tokenizer_config.json", `{"additional_special_tokens": "<x>"}`, "extra_special_tokens"},
		{"tokenizer_config.json", `{"pad_token": 5}`, "pad_token"},
		{"tokenizer_config.json", `{"eos_token": {"lstrip": true}}`, "eos_token"},
		{"tokenizer_config.json", `{"add_bos_token": "yes"}`, "add_bos_token"},
		{"tokenizer_config.json", `{"split_special_tokens": 1}`, "split_special_tokens"},
		{"tokenizer_config.json", `[]`, "not a JSON object"},
		{"tokenizer_config.json", `{"a": 1`, "is cut short"},
		{"tokenizer_config.json", `{} {}`, "something stands behind"},
		{"special_tokens_map.json", `{"pad_token": []}`, "pad_token"},
		{"special_tokens_map.json", `{"eos_token": 1}`, "eos_token"},
		{"special_tokens_map.json", `"a"`, "not a JSON object"},
		{"added_tokens.json", `{"<x>": "5"}`, "<x>"},
		{"added_tokens.json", `{"<x>": -5}`, "<x>"},
		{"added_tokens.json", ``, "the file is empty"},
	} {
		_, err := Load(writeAround(t, "gpt2", nil, map[string]json.RawMessage{c.file: json.RawMessage(c.text)}), nil)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.file) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s %s: %v, want one that names %s", c.file, c.text, err, c.say)
		}
	}
}

// What tells one tokenizer from another: the tokens that other files add and their flags, not which file adds them.
func TestConfigured(t *testing.T) {
	sum := func(file, text string) string {
		tk, err := Load(writeAround(t, "gpt2", nil, map[string]json.RawMessage{file: json.RawMessage(text)}), nil)
		if err != nil {
			t.Fatal(err)
		}
		return tk.Configured()
	}
	one := sum("tokenizer_config.json", `{"pad_token": "<x>"}`)
	if none := sum("tokenizer_config.json", `{"pad_token": "<|end|>"}`); none != "" || one == "" {
		t.Errorf("nothing added %q, a token added %q", none, one)
	}
	if split := sum("tokenizer_config.json", `{"split_special_tokens": true}`); split == "" || split == one {
		t.Errorf("special tokens split: %q", split)
	}
	if sum("special_tokens_map.json", `{"pad_token": "<x>"}`) != one || sum("tokenizer_config.json", `{"pad_token": "<y>"}`) == one ||
		sum("tokenizer_config.json", `{"pad_token": {"content": "<x>", "lstrip": true, "special": true}}`) == one {
		t.Error("another token or other flags, or the same ones in another file")
	}
}

// What is read otherwise than the files say is told.
func TestNotesOnAddedTokens(t *testing.T) {
	for _, c := range []struct{ file, text, say string }{
		{"tokenizer_config.json", `{"added_tokens_decoder": {"600": {"content": "<x>"}}}`, `tokenizer_config.json: the added token "<x>" has id 600 there and gets id 520`},
		{"added_tokens.json", `{"<x>": 521}`, `added_tokens.json: the added token "<x>" has id 521 there and gets id 520`},
		{"special_tokens_map.json", `{"eos_token": "<x>"}`, `special_tokens_map.json: its eos_token "<x>" is not used; token 7 ends documents`},
		{"special_tokens_map.json", `{"pad_token": "<|end|>"}`, ""},
		{"tokenizer_config.json", `{"add_bos_token": true}`, `add_bos_token is true, but tokenizer.json puts none`},
		{"tokenizer_config.json", `{"add_bos_token": false}`, ""},
		{"tokenizer_config.json", `{"split_special_tokens": true}`, "split_special_tokens is true"},
		{"tokenizer_config.json", `{"split_special_tokens": false}`, ""},
		{"tokenizer_config.json", `{"added_tokens_decoder": {"520": {"content": "<x>"}}}`, ""},
	} {
		tk, err := Load(writeAround(t, "gpt2", nil, map[string]json.RawMessage{c.file: json.RawMessage(c.text)}), []int{7})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(tk.Notes(), "\n"); !strings.Contains(got, c.say) || (got == "") != (c.say == "") {
			t.Errorf("%s %s: %q, want %q", c.file, c.text, got, c.say)
		}
	}
}
