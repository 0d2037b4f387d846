package tokenizer

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
)

// varint and data are fields of a protobuf message.
func varint(number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number)<<3), v)
}

func data(number int, b []byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(number)<<3|2), uint64(len(b))), b...)
}

func piece(s string, score float32, kind pieceType) []byte {
	b := data(1, []byte(s))
	b = binary.LittleEndian.AppendUint32(append(b, 2<<3|5), math.Float32bits(score))
	return data(1, append(b, varint(3, uint64(kind))...))
}

// smallModel is a model of a few pieces: trainer and normalizer are further fields of the two specs.
func smallModel(pieces, trainer, normalizer []byte) []byte {
	b := slices.Concat(piece("<unk>", 0, unknownPiece), piece("<s>", 0, controlPiece), piece("</s>", 0, controlPiece))
	for i, s := range []string{"▁", "a", "b", "▁a", "ab", "▁ab"} {
		b = append(b, piece(s, float32(-i), normalPiece)...)
	}
	b = append(b, pieces...)
	b = append(b, data(2, append(varint(3, 2), trainer...))...)
	return append(b, data(3, append(append(data(1, []byte("identity")), varint(4, 0)...), normalizer...))...)
}

func writeFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		testkit.Write(t, filepath.Join(dir, name), b)
	}
	return dir
}

func TestAModelsSpacesAndSpecialPieces(t *testing.T) {
	const text = "ab</s>ab ab<x>b"
	for _, c := range []struct {
		name, config string
		want         []string
	}{
		{"by default", "", []string{"▁ab", "</s>", "▁ab", "▁ab", "<x>", "▁", "b"}},
		{"not legacy", `{"legacy": false}`, []string{"▁ab", "</s>", "ab", "▁ab", "<x>", "b"}},
		{"without prefix", `{"add_prefix_space": false}`, []string{"ab", "</s>", "ab", "▁ab", "<x>", "b"}},
	} {
		files := map[string][]byte{"tokenizer.model": smallModel(piece("<x>", 0, userPiece), nil, nil)}
		if c.config != "" {
			files["tokenizer_config.json"] = []byte(c.config)
		}
		tk, err := Load(writeFiles(t, files), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := words(t, tk, text); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWhatAModelHasAndWeDoNotIsNamed(t *testing.T) {
	for say, blob := range map[string][]byte{
		"model_type word":            smallModel(nil, varint(3, 3), nil),
		"most 1024 are":              smallModel(piece(strings.Repeat("z", 1025), 0, normalPiece), varint(3, 1), nil),
		"treat_whitespace_as_suffix": smallModel(nil, varint(24, 1), nil),
		"byte piece":                 smallModel(nil, varint(35, 1), nil),
		`rule "nmt_nfkc"`:            smallModel(nil, nil, append(data(1, []byte("nmt_nfkc")), data(2, []byte("map"))...)),
		"escape_whitespaces":         smallModel(nil, nil, varint(5, 0)),
		"denormalizer_spec":          append(smallModel(nil, nil, nil), data(5, data(2, []byte("map")))...),
		"type 5":                     smallModel(piece("z", 0, unusedPiece), nil, nil),
		"are both":                   smallModel(piece("a", 0, normalPiece), nil, nil),
		"no number":                  smallModel(piece("z", float32(math.NaN()), normalPiece), nil, nil),
		"outside":                    smallModel(nil, varint(41, 99), nil),
		"no sentencepiece model":     smallModel(nil, nil, nil)[:40],
		"tiktoken":                   []byte("IQ== 0\nIg== 1\n"),
	} {
		_, err := Load(writeFiles(t, map[string][]byte{"tokenizer.model": blob}), nil)
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), say) || !strings.Contains(err.Error(), "tokenizer.model") {
			t.Errorf("%v, want one that names %s", err, say)
		}
	}
}

func TestWhereBosAndEosComeFrom(t *testing.T) {
	model := smallModel(nil, nil, nil)
	jsonFile := testkit.Read(t, filepath.Join(casesDir, "llama2", "tokenizer.json"))
	plain := testkit.Read(t, filepath.Join(casesDir, "gpt2", "tokenizer.json"))
	for _, c := range []struct {
		name     string
		files    map[string]string
		bos, eos int32 // -1: none
	}{
		{"the model's own", map[string]string{"tokenizer.model": string(model)}, 1, 2},
		{"BOS switched off", map[string]string{"tokenizer.model": string(model), "tokenizer_config.json": `{"add_bos_token": false}`}, -1, 2},
		{"EOS configured", map[string]string{"tokenizer.model": string(model), "tokenizer_config.json": `{"eos_token": {"content": "<s>"}}`}, 1, 1},
		{"the template's BOS, EOS of config.json", map[string]string{"tokenizer.json": string(jsonFile)}, 1, 7},
		{"tokenizer.json wins", map[string]string{"tokenizer.json": string(plain), "tokenizer.model": string(model)}, -1, 7},
		{"no switch for tokenizer.json", map[string]string{"tokenizer.json": string(jsonFile), "tokenizer_config.json": `{"add_bos_token": false, "eos_token": "</s>"}`}, 1, 2},
	} {
		files := map[string][]byte{}
		for n, s := range c.files {
			files[n] = []byte(s)
		}
		tk, err := Load(writeFiles(t, files), []int{7, 8})
		if err != nil {
			t.Fatal(err)
		}
		bos, okB := tk.BOS()
		eos, okE := tk.EOS()
		if okB != (c.bos >= 0) || okB && bos != c.bos || okE != (c.eos >= 0) || okE && eos != c.eos {
			t.Errorf("%s: BOS %d %v, EOS %d %v", c.name, bos, okB, eos, okE)
		}
	}
}

func TestTokensAddedBesideAModel(t *testing.T) {
	for name, files := range map[string]map[string][]byte{
		"added_tokens.json":    {"added_tokens.json": []byte(`{"<pad>": 9}`)},
		"added_tokens_decoder": {"tokenizer_config.json": []byte(`{"added_tokens_decoder": {"1": {"content": "<s>", "normalized": true}, "9": {"content": "<pad>"}}}`)},
	} {
		files["tokenizer.model"] = smallModel(nil, nil, nil)
		tk, err := Load(writeFiles(t, files), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := words(t, tk, "ab<pad><s>"); !slices.Equal(got, []string{"▁ab", "<pad>", "<s>"}) || tk.Size() != 10 {
			t.Errorf("%s: %q, size %d", name, got, tk.Size())
		}
	}
}

// tryText encodes and decodes a text: by both ways of encoding it has the same tokens, or they fail as one should.
func tryText(t *testing.T, tk *Tokenizer, text string) {
	text = ReplaceInvalid(text)
	ids, err := tk.Encode(text)
	again, spans, err2 := tk.EncodeSpans(text)
	if !slices.Equal(ids, again) || len(spans) != len(again) || errs.Code(err) != errs.Code(err2) || err != nil && errs.Code(err) != 4 {
		t.Errorf("%v %v, with spans %v %v", ids, err, again, err2)
	}
	if _, err := tk.Decode(ids); err != nil && errs.Code(err) != 4 {
		t.Errorf("%v: %v", ids, err)
	}
}

func FuzzModel(f *testing.F) {
	f.Add(smallModel(nil, nil, nil), "ab ab")
	f.Add(smallModel(piece("<x>", 0, userPiece), varint(35, 1), varint(4, 1)), " a<x>")
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f}, "")
	f.Add(smallModel(piece("ab", -1, normalPiece), varint(3, 1), nil), "abbab")
	f.Fuzz(func(t *testing.T, blob []byte, text string) {
		tk, err := parseModel("tokenizer.model", blob, config{addBOS: true, addPrefix: true, legacy: len(blob)%2 == 0})
		if err == nil {
			tryText(t, tk, text)
		} else if errs.Code(err) != 4 {
			t.Errorf("%v", err)
		}
	})
}

func FuzzJSON(f *testing.F) {
	blob, err := os.ReadFile(filepath.Join(small(f, func(map[string]any) {}), "tokenizer.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob, "hello")
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0,"▁":1,"▁a":2},"merges":["▁ a"],"byte_fallback":true,"unk_token":"a"},"normalizer":{"type":"Prepend","prepend":"▁"},"decoder":{"type":"Strip","content":" ","start":1}}`), " a")
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{"a":0}},"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"},"added_tokens":[{"id":1,"content":"b","normalized":true,"lstrip":true}]}`), "b a")
	f.Add([]byte(`{"model":{"type":"Unigram","vocab":[["<unk>",0],["a",-1],["ab",-1.5],["<0x62>",0]],"unk_id":0,"byte_fallback":true},"pre_tokenizer":{"type":"Metaspace","replacement":"▁"}}`), "ab b")
	f.Fuzz(func(t *testing.T, blob []byte, text string) {
		tk, err := parseJSON("tokenizer.json", blob)
		if err == nil {
			tryText(t, tk, text)
		} else if errs.Code(err) != 4 {
			t.Errorf("%v", err)
		}
	})
}
