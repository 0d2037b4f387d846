package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dlclark/regexp2"

	"longlora/internal/errs"
)

// step is a pre-tokenizer: it hands each piece of the text to next.
type step func(text string, next func(piece string))

// decoder joins tokens into text.
type decoder func(tokens []string) string

// part is any typed object of tokenizer.json.
type part struct {
	Type           string            `json:"type"`
	Pretokenizers  []json.RawMessage `json:"pretokenizers"`
	Processors     []json.RawMessage `json:"processors"`
	Decoders       []json.RawMessage `json:"decoders"`
	AddPrefixSpace *bool             `json:"add_prefix_space"`
	UseRegex       *bool             `json:"use_regex"`
	Pattern        struct {
		Regex  *string
		String *string
	} `json:"pattern"`
	Behavior   string                           `json:"behavior"`
	Invert     bool                             `json:"invert"`
	Individual bool                             `json:"individual_digits"`
	Single     []map[string]struct{ ID string } `json:"single"`
	Specials   map[string]struct{ IDs []int32 } `json:"special_tokens"`
}

// file is tokenizer.json.
type file struct {
	Added      []addedToken    `json:"added_tokens"`
	Normalizer json.RawMessage `json:"normalizer"`
	Pre        json.RawMessage `json:"pre_tokenizer"`
	Post       json.RawMessage `json:"post_processor"`
	Decoder    json.RawMessage `json:"decoder"`
	Model      struct {
		Type         string            `json:"type"`
		Vocab        map[string]int32  `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
		IgnoreMerges bool              `json:"ignore_merges"`
		ByteFallback bool              `json:"byte_fallback"`
		Dropout      *float64          `json:"dropout"`
		Unk          *string           `json:"unk_token"`
		Prefix       *string           `json:"continuing_subword_prefix"`
		Suffix       *string           `json:"end_of_word_suffix"`
	} `json:"model"`
}

func null(b json.RawMessage) bool { return len(b) == 0 || bytes.Equal(b, []byte("null")) }

// parseJSON reads a byte-level BPE tokenizer.json.
func parseJSON(path string, blob []byte) (*Tokenizer, error) {
	var f file
	if err := json.Unmarshal(blob, &f); err != nil {
		return nil, errs.Dataf("%s: %w", path, err)
	}
	fail := func(format string, a ...any) (*Tokenizer, error) {
		return nil, errs.Dataf("%s: %s", path, fmt.Sprintf(format, a...))
	}
	m := &f.Model
	switch {
	case m.Type != "BPE":
		return fail("model.type %q is not supported, only BPE", m.Type)
	case !null(f.Normalizer):
		return fail("a normalizer is not supported")
	case m.Dropout != nil && *m.Dropout != 0:
		return fail("model.dropout is not supported")
	case m.Prefix != nil && *m.Prefix != "" || m.Suffix != nil && *m.Suffix != "":
		return fail("model.continuing_subword_prefix and end_of_word_suffix are not supported")
	case len(m.Vocab) == 0:
		return fail("model.vocab is missing")
	}
	t := &Tokenizer{model: &bpe{vocab: m.Vocab, merges: map[uint64]merge{}, byteLevel: true, unk: -1}, added: newAddedTokens(f.Added)}
	if m.IgnoreMerges {
		t.model.whole = map[string]int32{}
	}
	if err := t.fill(&f); err != nil {
		return fail("%v", err)
	}
	byteLevel := false
	if err := t.pre(f.Pre, &byteLevel); err != nil {
		return fail("pre_tokenizer: %v", err)
	}
	if !byteLevel {
		return fail("pre_tokenizer: without ByteLevel is not supported")
	}
	if err := t.post(f.Post); err != nil {
		return fail("post_processor: %v", err)
	}
	var d part
	if !null(f.Decoder) {
		if err := json.Unmarshal(f.Decoder, &d); err != nil || d.Type != "ByteLevel" {
			return fail("decoder: type %q is not supported, only ByteLevel", d.Type)
		}
	}
	t.decode = t.join
	return t, nil
}

// fill builds the tables: ids, merges, single bytes.
func (t *Tokenizer) fill(f *file) error {
	all := map[int32]string{}
	for s, id := range f.Model.Vocab {
		if id < 0 || id > 1<<24 {
			return fmt.Errorf("model.vocab: token %q has id %d", s, id)
		}
		all[id] = s
		t.size = max(t.size, int(id)+1)
		if t.model.whole != nil {
			if word, ok := unspell(s); ok {
				t.model.whole[word] = id
			}
		}
	}
	for _, a := range f.Added {
		if a.ID < 0 || a.ID > 1<<24 || a.Normalized && a.Special {
			return fmt.Errorf("added_tokens: %q has id %d", a.Content, a.ID)
		}
		all[a.ID] = a.Content
		t.size = max(t.size, int(a.ID)+1)
	}
	t.tokens = make([]string, t.size)
	for id, s := range all {
		t.tokens[id] = s
	}
	for i := range t.model.byteID {
		t.model.byteID[i] = -1
		if id, ok := f.Model.Vocab[string(byteRunes[i])]; ok {
			t.model.byteID[i] = id
		}
	}
	for rank, raw := range f.Model.Merges {
		var pair []string
		var line string
		if json.Unmarshal(raw, &pair) != nil {
			if err := json.Unmarshal(raw, &line); err != nil {
				return fmt.Errorf("model.merges[%d]: %s", rank, raw)
			}
			pair = strings.SplitN(line, " ", 2)
		}
		if len(pair) != 2 {
			return fmt.Errorf("model.merges[%d]: %s is no pair", rank, raw)
		}
		a, okA := f.Model.Vocab[pair[0]]
		b, okB := f.Model.Vocab[pair[1]]
		c, okC := f.Model.Vocab[pair[0]+pair[1]]
		if !okA || !okB || !okC {
			return fmt.Errorf("model.merges[%d]: %q and %q or what they become is not in the vocabulary", rank, pair[0], pair[1])
		}
		t.model.merges[pairKey(a, b)] = merge{int32(rank), c}
	}
	return nil
}

// byteRunes are the characters by which byte-level BPE spells bytes: printable ones stand for themselves.
var byteRunes = func() (r [256]rune) {
	n := rune(256)
	for b := range r {
		if b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae {
			r[b] = rune(b)
		} else {
			r[b], n = n, n+1
		}
	}
	return r
}()

var runeBytes = func() map[rune]byte {
	m := map[rune]byte{}
	for b, r := range byteRunes {
		m[r] = byte(b)
	}
	return m
}()

// unspell is the text that a token spells; ok is false when it holds a character that spells no byte.
func unspell(s string) (string, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		b, ok := runeBytes[r]
		if !ok {
			return "", false
		}
		out = append(out, b)
	}
	return string(out), true
}

// pre adds the steps of a pre-tokenizer.
func (t *Tokenizer) pre(raw json.RawMessage, byteLevel *bool) error {
	if null(raw) {
		return nil
	}
	var p part
	if err := json.Unmarshal(raw, &p); err != nil {
		return err
	}
	switch p.Type {
	case "Sequence":
		for _, q := range p.Pretokenizers {
			if err := t.pre(q, byteLevel); err != nil {
				return err
			}
		}
	case "ByteLevel":
		*byteLevel = true
		if p.AddPrefixSpace == nil || *p.AddPrefixSpace {
			t.steps = append(t.steps, func(s string, next func(string)) {
				if !strings.HasPrefix(s, " ") {
					s = " " + s
				}
				next(s)
			})
		}
		if p.UseRegex == nil || *p.UseRegex {
			t.steps = append(t.steps, pieces(gpt2Piece))
			t.safeCut = t.added.plain() && len(t.steps) == 1
		}
	case "Digits":
		t.steps = append(t.steps, digits(p.Individual))
	case "Split":
		return t.split(p)
	default:
		return fmt.Errorf("type %q is not supported", p.Type)
	}
	return nil
}

// split adds a Split by pattern; matches stand alone.
func (t *Tokenizer) split(p part) error {
	if p.Pattern.Regex == nil || p.Invert || p.Behavior != "Isolated" && p.Behavior != "isolated" {
		return fmt.Errorf("a Split: only an isolated pattern.Regex is supported, not behavior %q", p.Behavior)
	}
	switch *p.Pattern.Regex {
	case gpt2Pattern:
		t.steps = append(t.steps, pieces(gpt2Piece))
	case llama3Pattern:
		t.steps = append(t.steps, pieces(llama3Piece))
	default:
		re, err := regexp2.Compile(*p.Pattern.Regex, regexp2.None)
		if err != nil {
			return fmt.Errorf("a Split: pattern %q: %w", *p.Pattern.Regex, err)
		}
		t.steps = append(t.steps, matches(re))
		return nil
	}
	t.safeCut = t.added.plain() && len(t.steps) == 1
	return nil
}

// pieces cuts text by a matcher.
func pieces(first func(string) int) step {
	return func(s string, next func(string)) {
		for s != "" {
			n := first(s)
			next(s[:n])
			s = s[n:]
		}
	}
}

// matches cuts text at the matches of a regular expression.
func matches(re *regexp2.Regexp) step {
	return func(s string, next func(string)) {
		runes := []rune(s)
		done := 0
		for m, _ := re.FindRunesMatch(runes); m != nil; m, _ = re.FindNextMatch(m) {
			if m.Index > done {
				next(string(runes[done:m.Index]))
			}
			if m.Length > 0 {
				next(string(runes[m.Index : m.Index+m.Length]))
			}
			done = m.Index + m.Length
		}
		if done < len(runes) {
			next(string(runes[done:]))
		}
	}
}

// digits cuts numbers off, whole or digit by digit.
func digits(individual bool) step {
	return func(s string, next func(string)) {
		for s != "" {
			c, w := peek(s)
			n := w
			for n < len(s) && !(individual && c == number) {
				d, v := peek(s[n:])
				if (d == number) != (c == number) {
					break
				}
				n += v
			}
			next(s[:n])
			s = s[n:]
		}
	}
}

// post reads what is put in front of a text.
func (t *Tokenizer) post(raw json.RawMessage) error {
	if null(raw) {
		return nil
	}
	var p part
	if err := json.Unmarshal(raw, &p); err != nil {
		return err
	}
	switch p.Type {
	case "ByteLevel":
	case "Sequence":
		for _, q := range p.Processors {
			if err := t.post(q); err != nil {
				return err
			}
		}
	case "TemplateProcessing":
		for _, piece := range p.Single {
			if _, text := piece["Sequence"]; text {
				break
			}
			s, ok := p.Specials[piece["SpecialToken"].ID]
			if !ok {
				return fmt.Errorf("TemplateProcessing: special token %q is not listed", piece["SpecialToken"].ID)
			}
			t.prefix = append(t.prefix, s.IDs...)
		}
	default:
		return fmt.Errorf("type %q is not supported", p.Type)
	}
	return nil
}

// join spells tokens out; added tokens stand as they are.
func (t *Tokenizer) join(tokens []string) string {
	var b strings.Builder
	for _, s := range tokens {
		if _, added := t.added.ids[s]; !added {
			if text, ok := unspell(s); ok {
				s = text
			}
		}
		b.WriteString(s)
	}
	return ReplaceInvalid(b.String())
}
