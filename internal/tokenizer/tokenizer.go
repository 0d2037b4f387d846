// Package tokenizer turns text into token ids and back, exactly as the files beside a checkpoint say.
//
// Words used here:
//
//   - piece: a stretch of text that byte-pair merges never cross; pre-tokenizers cut text into pieces.
//   - merge: a pair of tokens that becomes one token; lower rank merges first.
//   - added token: a token matched in the raw text before anything else, such as a written-out "</s>".
//   - prefix: what the post-processor puts in front of a text (BOS).
//
// What a file asks for and this package does not have is an error that names it, never an approximation.
package tokenizer

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unicode/utf8"

	"longlora/internal/errs"
)

// Tokenizer is a loaded tokenizer. Its methods may be called from many goroutines at once.
type Tokenizer struct {
	dir     string
	added   *addedTokens
	steps   []step // pre-tokenizers, in order
	safeCut bool   // a letter, a space and a letter are always cut before the space
	model   *bpe
	decode  decoder
	prefix  []int32 // what stands in front of a text
	eos     int32   // -1: none known
	size    int
	tokens  []string // id -> text as the file has it; "" for a hole

	mu   sync.Mutex
	free []*wordCache // caches not in use by any goroutine
}

// tokenizerFiles are the files that make up a tokenizer in a checkpoint folder.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
}

// Load reads the tokenizer.json in a checkpoint folder.
//
// BOS is what the post-processor of tokenizer.json adds. EOS is tokenizer_config.json's eos_token, else the first of
// cfgEOS (eos_token_id of config.json).
// Every fault is a data error (exit 4) that names file and field.
func Load(dir string, cfgEOS []int) (*Tokenizer, error) {
	cfg, err := readConfig(filepath.Join(dir, "tokenizer_config.json"))
	if err != nil {
		return nil, err
	}
	jsonPath := filepath.Join(dir, "tokenizer.json")
	modelPath := filepath.Join(dir, "tokenizer.model")
	var t *Tokenizer
	blob, err := os.ReadFile(jsonPath)
	switch {
	case err == nil:
		t, err = parseJSON(jsonPath, blob)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, errs.Dataf("cannot read the tokenizer: %v", err)
	default:
		t, err = nil, errs.Dataf("%s: no tokenizer.json beside it; a tokenizer.model alone is not read; write one with transformers' AutoTokenizer.save_pretrained", modelPath)
	}
	if err != nil {
		return nil, err
	}
	t.dir = dir
	if t.eos, err = findEOS(t, cfg, cfgEOS); err != nil {
		return nil, err
	}
	return t, nil
}

// config is what tokenizer_config.json has to say about EOS.
type config struct {
	path string
	eos  string
}

// readConfig reads tokenizer_config.json; a missing file is an empty one.
func readConfig(path string) (config, error) {
	c := config{path: path}
	blob, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, errs.Dataf("cannot read the tokenizer's configuration: %v", err)
	}
	var f struct {
		EOS json.RawMessage `json:"eos_token"`
	}
	if err := json.Unmarshal(blob, &f); err != nil {
		return c, errs.Dataf("%s: %v", path, err)
	}
	if len(f.EOS) == 0 || string(f.EOS) == "null" {
		return c, nil
	}
	if json.Unmarshal(f.EOS, &c.eos) == nil {
		return c, nil
	}
	var tok struct{ Content *string }
	if err := json.Unmarshal(f.EOS, &tok); err != nil || tok.Content == nil {
		return c, errs.Dataf("%s: eos_token must be a string or an object with content", path)
	}
	c.eos = *tok.Content
	return c, nil
}

// findEOS applies the rule of Load; -1 where nothing says it.
func findEOS(t *Tokenizer, cfg config, cfgEOS []int) (int32, error) {
	if cfg.eos != "" {
		id, ok := t.ID(cfg.eos)
		if !ok {
			return 0, errs.Dataf("%s: eos_token %q is not in the tokenizer's vocabulary; correct the field or add the token", cfg.path, cfg.eos)
		}
		return id, nil
	}
	if len(cfgEOS) > 0 {
		return int32(cfgEOS[0]), nil
	}
	return -1, nil
}

// parallelFrom is the length in bytes from which one text is encoded by several goroutines.
const parallelFrom = 1 << 20

// Encode returns the ids of text; nothing is added in front or behind. Special tokens written out in it are parsed.
// Invalid UTF-8 is read as Python's errors="replace" reads it.
func (t *Tokenizer) Encode(text string) []int32 {
	text = ReplaceInvalid(text)
	out := make([]int32, 0, len(text)/3+4)
	workers := runtime.GOMAXPROCS(0)
	if len(text) < parallelFrom || workers == 1 || !t.safeCut {
		c := t.takeCache()
		out = t.encode(text, c, out)
		t.putCache(c)
		return out
	}
	chunks := cutSafely(text, parallelFrom/4)
	parts := make([][]int32, len(chunks))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			c := t.takeCache()
			for i := w; i < len(chunks); i += workers {
				parts[i] = t.encode(chunks[i], c, nil)
			}
			t.putCache(c)
		})
	}
	wg.Wait()
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// encode appends the ids of valid UTF-8 text to out.
func (t *Tokenizer) encode(text string, c *wordCache, out []int32) []int32 {
	emit := func(piece string) { out = t.model.encodeWord(piece, c, out) }
	for i := len(t.steps) - 1; i >= 0; i-- {
		run, next := t.steps[i], emit
		emit = func(piece string) { run(piece, next) }
	}
	t.added.scan(text,
		func(id int32, _, _ int) { out = append(out, id) },
		func(start, stop int) {
			if start < stop {
				emit(text[start:stop])
			}
		})
	return out
}

// Span is the part text[Start:End] of the encoded text, in bytes, that a token stands for.
type Span struct{ Start, End int }

// EncodeSpans is Encode with the span of each token. text must be valid UTF-8 (ReplaceInvalid makes it so), so that
// the spans are of the text that the caller has. Spans do not overlap in a tokenizer that keeps its text, their
// white space is not trimmed, a character cut over several tokens is shared out by bytes, and what the tokenizer
// puts in by itself, such as a leading space, has an empty span.
func (t *Tokenizer) EncodeSpans(text string) (ids []int32, spans []Span) {
	c := t.takeCache()
	defer t.putCache(c)
	emit := func(piece string) { ids = t.model.encodeWord(piece, c, ids) }
	for i := len(t.steps) - 1; i >= 0; i-- {
		run, next := t.steps[i], emit
		emit = func(piece string) { run(piece, next) }
	}
	t.added.scan(text,
		func(id int32, start, stop int) {
			ids, spans = append(ids, id), append(spans, Span{start, stop})
		},
		func(start, stop int) {
			if start == stop {
				return
			}
			n := len(ids)
			emit(text[start:stop])
			lengths, sum := make([]int, 0, len(ids)-n), 0
			for _, id := range ids[n:] {
				s, _ := unspell(t.tokens[id])
				lengths = append(lengths, len(s))
				sum += len(s)
			}
			at := stop - sum // before start by the space that was put in
			for _, l := range lengths {
				spans = append(spans, Span{max(at, start), max(at+l, start)})
				at += l
			}
		})
	return ids, spans
}

// cutSafely cuts text into parts of about size bytes, each cut between a letter and a space that a letter
// follows. The known patterns end a piece there wherever the piece began, and look no further ahead, so the
// parts encode to what the whole would. Text without such places stays whole.
func cutSafely(text string, size int) []string {
	var parts []string
	for len(text) > size {
		i := size
		for i+1 < len(text) && !(asciiLetter(text[i-1]) && text[i] == ' ' && asciiLetter(text[i+1])) {
			i++
		}
		if i+1 >= len(text) {
			break
		}
		parts = append(parts, text[:i])
		text = text[i:]
	}
	return append(parts, text)
}

func asciiLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// Decode returns the text of ids, special tokens written out. Bytes that are no valid UTF-8 become U+FFFD,
// so the text of a cut sequence may end in one. Ids outside the vocabulary add nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	toks := make([]string, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.tokens) && t.tokens[id] != "" {
			toks = append(toks, t.tokens[id])
		}
	}
	return t.decode(toks)
}

// BOS is the token that Encode puts in front of a text, if it puts one.
func (t *Tokenizer) BOS() (int32, bool) {
	if len(t.prefix) == 0 {
		return 0, false
	}
	return t.prefix[0], true
}

// EOS is the token that ends a document, if any file says which.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos >= 0 }

// Size is the highest id plus one; a model's vocab_size must be at least that.
func (t *Tokenizer) Size() int { return t.size }

// ID is the id of a token by its text, added tokens first.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.added.ids[token]; ok {
		return id, true
	}
	id, ok := t.model.vocab[token]
	return id, ok
}

// Files lists the tokenizer's files that are there, as paths: what is fingerprinted and carried over.
func (t *Tokenizer) Files() []string {
	var out []string
	for _, name := range tokenizerFiles {
		p := filepath.Join(t.dir, name)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			out = append(out, p)
		}
	}
	return out
}

func (t *Tokenizer) takeCache() *wordCache {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		c := t.free[n-1]
		t.free = t.free[:n-1]
		return c
	}
	return newWordCache()
}

func (t *Tokenizer) putCache(c *wordCache) {
	t.mu.Lock()
	t.free = append(t.free, c)
	t.mu.Unlock()
}

// ReplaceInvalid returns s with one U+FFFD for each maximal bad part, as Python's errors="replace" decodes.
func ReplaceInvalid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out := make([]byte, 0, len(s)+len(s)/8)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			n = badPrefix(s[i:])
			out = append(out, "\uFFFD"...)
		} else {
			out = append(out, s[i:i+n]...)
		}
		i += n
	}
	return string(out)
}

// badPrefix is the length of the maximal bad part at the start of s (Unicode 15, section 3.9, "substitution
// of maximal subparts"): the longest start of some valid sequence, or one byte.
func badPrefix(s string) int {
	lo, hi, need := byte(0x80), byte(0xBF), 0
	switch c := s[0]; {
	case c >= 0xC2 && c <= 0xDF:
		need = 1
	case c >= 0xE0 && c <= 0xEF:
		need = 2
		if c == 0xE0 {
			lo = 0xA0
		} else if c == 0xED {
			hi = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		need = 3
		if c == 0xF0 {
			lo = 0x90
		} else if c == 0xF4 {
			hi = 0x8F
		}
	}
	n := 1
	for ; n <= need && n < len(s) && s[n] >= lo && s[n] <= hi; n++ {
		lo, hi = 0x80, 0xBF
	}
	return n
}
