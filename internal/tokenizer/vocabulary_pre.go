package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// typed lists the parts of a typed object of tokenizer.json.
func typed(raw json.RawMessage, list string) ([]preTokenizer, error) {
	parts, err := sequence(raw, list)
	if err != nil {
		return nil, err
	}
	out := make([]preTokenizer, len(parts))
	for i, p := range parts {
		if err := json.Unmarshal(p, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// cutsOf are the expressions, one after the other, by whose matches a byte-level pre-tokenizer cuts a text.
func cutsOf(raw json.RawMessage) (cuts []string, err error) {
	parts, err := typed(raw, "pretokenizers")
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		switch p.Type {
		case "ByteLevel":
			if p.AddPrefixSpace == nil || *p.AddPrefixSpace {
				return nil, errors.New("add_prefix_space of ByteLevel is true")
			}
			if p.UseRegex == nil || *p.UseRegex {
				cuts = append(cuts, gpt2Pattern)
			}
		case "Digits":
			if p.Individual {
				cuts = append(cuts, `\p{N}`)
			} else {
				cuts = append(cuts, `\p{N}+`)
			}
		case "Punctuation":
			cuts = append(cuts, "Punctuation "+p.Behavior)
		case "Split":
			pieces := behaviors[p.Behavior] == isolated && !p.Invert || behaviors[p.Behavior] == removed && p.Invert
			if p.Pattern.Regex == nil || !pieces {
				return nil, fmt.Errorf("a Split by a text, or with behavior %s", p.Behavior)
			}
			cuts = append(cuts, *p.Pattern.Regex)
		default:
			return nil, fmt.Errorf("type %s", p.Type)
		}
	}
	return cuts, nil
}

// pre is one of llama.cpp's ways to cut a text into words.
type pre struct {
	cuts []string
	// Its names where a word that is a token stays one (ignore_merges), and where the merges alone count; "" for none.
	whole, merged string
	inexact       string // where the words differ from the expression's; "" nowhere
}

const cased = "combining marks and at letters outside ASCII, whose case it does not look at"

// deepSeekLetters begins the class of letters of the first DeepSeek models, some 150 ranges long.
const deepSeekLetters = `\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶ`

// pres are those that models of the families here have. The names are llama.cpp's, each of the first model that cut
// texts so (its convert_hf_to_gguf_update.py); what they stand for is in its src/llama-vocab.cpp.
var pres = []pre{
	{cuts: []string{gpt2Pattern}, merged: "gpt-2"},
	{cuts: []string{`\p{N}`, gpt2Pattern}, merged: "smollm"},
	{cuts: []string{llama3Pattern}, whole: "llama-bpe", merged: "dbrx"},
	{cuts: []string{qwen2Pattern}, merged: "qwen2"},
	{cuts: []string{gpt4oPattern}, merged: "gpt-4o", inexact: cased},
	{cuts: []string{tekkenPattern}, whole: "tekken", inexact: cased},
	{cuts: []string{"[\r\n]", deepSeekLetters, `\s?[!-/:-~！-／：-～‘-‟　-。]+`, `\s+$`,
		"[一-龥ࠀ-一가-퟿]+", `\p{N}`}, merged: "deepseek-llm"},
	{cuts: []string{"[\r\n]", `\s?\p{L}+`, `\s?\p{P}+`, "[一-龥ࠀ-一가-퟿]+", `\p{N}`}, merged: "deepseek-coder"},
	{cuts: []string{`\p{N}{1,3}`, "[一-龥぀-ゟ゠-ヿ]+", deepseek3Pattern}, merged: "deepseek-v3"},
	{cuts: []string{"Punctuation Contiguous", gpt2Pattern, `\p{N}+`, "[0-9][0-9][0-9]"}, merged: "falcon"},
}

const deepseek3Pattern = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|` +
	`[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+` +
	`| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// choosePre finds llama.cpp's name for how a text is cut.
func (v *Vocabulary) choosePre(t *Tokenizer, f *file, cuts []string) error {
	plain := make([]string, len(cuts))
	for i, c := range cuts {
		plain[i] = strings.ReplaceAll(c, `\"`, `"`) // an escape that means the same
		if strings.HasPrefix(c, deepSeekLetters) {
			plain[i] = deepSeekLetters
		}
	}
	i := slices.IndexFunc(pres, func(p pre) bool { return slices.Equal(p.cuts, plain) })
	if i < 0 {
		return fmt.Errorf("pre_tokenizer: its words are those of %s, which is none of llama.cpp's ways",
			shown(strings.Join(cuts, ", then ")))
	}
	p := pres[i]
	v.Pre = p.merged
	if f.Model.IgnoreMerges && p.whole != "" || p.merged == "" {
		v.Pre = p.whole
	}
	if f.Model.IgnoreMerges != (v.Pre == p.whole) {
		if token, same := t.unmerged(); !same && f.Model.IgnoreMerges && p.cuts[0] == gpt2Pattern && t.wordsOfLlama3() {
			v.Pre = "llama-bpe"
			v.note("%s: pre_tokenizer: llama.cpp takes whole words for tokens where it cuts them as LLaMA 3 does, not as "+
				"GPT-2; texts get other ids where a line ends behind a punctuation mark, and where marks or digits touch "+
				"letters", t.path)
		} else if !same {
			return fmt.Errorf("model.ignore_merges %v with these words, where token %q is not what the merges make of its text",
				f.Model.IgnoreMerges, token)
		}
	}
	if p.inexact != "" {
		v.note("%s: pre_tokenizer: llama.cpp's %s cuts words otherwise at %s; such texts may get other ids there", t.path,
			v.Pre, p.inexact)
	}
	return nil
}

// wordsOfLlama3 reports whether LLaMA 3's expression, too, takes the text of every token for one word.
func (t *Tokenizer) wordsOfLlama3() bool {
	for s := range t.merging().vocab {
		word, ok := unspell(s)
		if _, added := t.ids[s]; ok && !added && utf8.ValidString(word) && llama3Piece(word, 3) != len(word) {
			return false
		}
	}
	return true
}

// unmerged looks for the first token, by its number, that the merges do not make of its own text. Where there is none,
// a word that is a token becomes it with ignore_merges and without.
func (t *Tokenizer) unmerged() (token string, same bool) {
	m := *t.merging()
	m.whole = nil
	c := newWordCache()
	first := int32(math.MaxInt32)
	for s, id := range m.vocab {
		word, ok := unspell(s)
		if _, added := t.ids[s]; !ok || added || id >= first {
			continue
		}
		var out tokens
		m.mergeWord(word, c, &out)
		if len(out.ids) != 1 || out.ids[0] != id {
			token, first = s, id
		}
	}
	return token, first == math.MaxInt32
}
