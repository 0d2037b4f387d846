package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"longlora/internal/errs"
)

// Whatever the files beside a tokenizer say: they are refused by name, or every added token is found where its text is
// written, has an id inside the tokenizer's size, and loading again gives the same. parseObject agrees with encoding/json.
func FuzzConfigured(f *testing.F) {
	f.Add([]byte(`{"added_tokens_decoder":{"9":{"content":"<x>"},"1":{"content":"a","lstrip":true}},"eos_token":"</s>","split_special_tokens":true}`), []byte(`{}`), []byte(`{}`))
	f.Add([]byte(`{"extra_special_tokens":{"image_token":"<i>"},"video_token":"<v>","pad_token":null,"add_bos_token":false}`), []byte(`{"pad_token":{"content":"[PAD]","normalized":true},"extra_special_tokens":["<e>"]}`), []byte(`{"<x>":7}`))
	f.Add([]byte(`{"additional_special_tokens":["<a>","<a>"],"a":1,"a":{}}`), []byte(`{"eos_token":"b"}`), []byte(`{"b":0,"ab":1}`))
	dir := f.TempDir()
	vocab := `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"</s>":3},"merges":["a b"]},"normalizer":{"type":"Lowercase"},"added_tokens":[{"id":3,"content":"</s>","special":true}]}`
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(vocab), 0o644); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, config, special, added []byte) {
		if len(config)+len(special)+len(added) > 1<<12 {
			return
		}
		for name, b := range map[string][]byte{"tokenizer_config.json": config, "special_tokens_map.json": special, "added_tokens.json": added} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var m map[string]json.RawMessage
		o, fault := parseObject("x", config)
		if wrong := json.Unmarshal(config, &m); (fault == nil) != (wrong == nil && m != nil) {
			t.Fatalf("%v, encoding/json: %v", fault, wrong)
		}
		if fault == nil && len(m) != len(o) {
			t.Fatalf("%d fields, encoding/json finds %d", len(o), len(m))
		}
		tk, err := Load(dir, []int{3})
		if err != nil {
			if errs.Code(err) != 4 || len(err.Error()) > 1<<13 {
				t.Fatalf("exit code %d, %d bytes: %.200v", errs.Code(err), len(err.Error()), err)
			}
			return
		}
		again, err := Load(dir, []int{3})
		if err != nil || again.Configured() != tk.Configured() || !slices.Equal(again.tokens, tk.tokens) {
			t.Fatalf("loaded again it is another: %v", err)
		}
		for _, a := range tk.added {
			id, ok := tk.ID(a.Content)
			if !ok || id < 0 || int(id) >= tk.Size() {
				t.Fatalf("%q has id %d, %v, of %d", a.Content, id, ok, tk.Size())
			}
		}
		for _, list := range []*addedTokens{tk.raw, tk.normal} {
			for _, a := range list.list {
				k, err := list.at(a.Content, newBound(len(a.Content)))
				if err != nil || k < 0 || list.list[k].Content != a.Content {
					t.Fatalf("%q is not found: %d, %v", a.Content, k, err)
				}
			}
		}
		ids := encode(t, tk, "ab</s>A")
		for _, id := range ids {
			if id < 0 || int(id) >= tk.Size() {
				t.Fatalf("id %d of %d", id, tk.Size())
			}
		}
	})
}

// Whatever a tokenizer.json says: it is refused, or llama.cpp's form of it has a text of its own for every row, and
// merges or scores.
func FuzzVocabulary(f *testing.F) {
	pieces, bytes := `{"model":{"type":"BPE","byte_fallback":true,"unk_token":"<unk>","vocab":{"<unk>":256,"▁":257,"a":258,"▁a":259`, `{"model":{"type":"BPE","vocab":{"ab":256`
	for b := range 256 {
		pieces += fmt.Sprintf(`,"%s":%d`, byteToken(b), b)
		bytes += fmt.Sprintf(`,%q:%d`, string(byteRunes[b]), b)
	}
	f.Add([]byte(pieces+`},"merges":["▁ a"]},"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"▁"}]}}`), 300)
	f.Add([]byte(bytes+`},"merges":["a b"]},"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"added_tokens":[{"id":300,"content":"[PAD280]","special":true}]}`), 290)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, blob []byte, rows int) {
		if len(blob) > 1<<14 || rows < 1 || rows > 1<<10 {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), blob, 0o644); err != nil {
			t.Fatal(err)
		}
		tk, err := Load(dir, nil)
		if err != nil {
			return
		}
		v, err := tk.Vocabulary(rows)
		if err != nil {
			if errs.Code(err) != 4 {
				t.Fatal(err)
			}
			return
		}
		seen := map[string]bool{}
		for i, s := range v.Tokens {
			if seen[s] || v.Types[i] < NormalToken || v.Types[i] > ByteToken {
				t.Fatalf("row %d: %q of type %d", i, s, v.Types[i])
			}
			seen[s] = true
		}
		if len(v.Tokens) != rows || (v.Model == "llama") != (len(v.Scores) == rows) {
			t.Fatalf("%d rows, %d tokens, %d scores", rows, len(v.Tokens), len(v.Scores))
		}
	})
}
