// Package tokenizer turns text into token ids and back, exactly as the files beside a checkpoint say.
//
// Words used here:
//
//   - piece, word: a stretch of text that byte-pair merges never cross; pre-tokenizers cut text into pieces.
//   - merge: a pair of tokens that becomes one token; lower rank merges first.
//   - added token: a token matched in the text before anything else, such as a written-out "</s>".
//   - prefix: what the post-processor puts in front of a text (BOS).
//   - the library: Hugging Face tokenizers, which transformers encodes with and whose ids these are.
//
// What a file asks for and this package does not have is an error that names it, never an approximation.
package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Tokenizer is a loaded tokenizer. Its methods may be called from many goroutines at once.
type Tokenizer struct {
	dir         string
	path        string // of tokenizer.json or tokenizer.model
	notes       []string
	raw, normal *addedTokens // matched in the input and in the normalized text
	split       bool         // split_special_tokens
	ids         map[string]int32
	normalizers []rewrite
	steps       []step                     // pre-tokenizers, in order
	cuts        func(s string, i int) bool // whether a long text may be cut before s[i]; nil: nowhere
	longFrom    int                        // length in bytes from which a text is long
	model       wordModel
	decode      decoder
	prefix      []int32  // what stands in front of a text
	bos         int32    // -1: none known; where no prefix says it
	eos         int32    // -1: none known
	tokens      []string // id -> text as the file has it; "" for a hole
	added       []addedToken

	mu   sync.Mutex
	free []*wordCache // caches not in use by any goroutine
}

// wordModel turns words into tokens: bpe by merges, unigram by scores.
type wordModel interface {
	encodeWord(w string, c *wordCache, out *tokens) error // appends the tokens of one piece of text
	id(token string) (int32, bool)
	size() int // of its vocabulary
}

// tokenizerFiles are the files that make up a tokenizer in a checkpoint folder.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
	"added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
}

// Load reads the tokenizer in a checkpoint folder: tokenizer.json, or tokenizer.model where there is no
// tokenizer.json.
//
// BOS is what the post-processor of tokenizer.json adds; with tokenizer.model alone it is that model's, unless
// tokenizer_config.json has add_bos_token false. EOS is tokenizer_config.json's eos_token, else tokenizer.model's,
// else the first of cfgEOS (eos_token_id of config.json).
// Every fault is a data error (exit 4) that names file and field.
func Load(dir string, cfgEOS []int) (*Tokenizer, error) {
	cfg, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	jsonPath := filepath.Join(dir, "tokenizer.json")
	modelPath := filepath.Join(dir, "tokenizer.model")
	blob, err := files.Read(jsonPath, fileLimit)
	var t *Tokenizer
	switch {
	case err == nil:
		t, err = parseJSON(jsonPath, blob)
	case errors.Is(err, fs.ErrNotExist):
		if blob, err = files.Read(modelPath, fileLimit); errors.Is(err, fs.ErrNotExist) {
			return nil, errs.Dataf("cannot read a tokenizer: neither %s nor %s: %w", jsonPath, modelPath, fs.ErrNotExist)
		}
		if err == nil {
			t, err = parseModel(modelPath, blob, cfg)
		}
	}
	if err != nil {
		return nil, err
	}
	t.dir = dir
	if t.split = cfg.split; t.split {
		t.note("%s: split_special_tokens is true, so a special token that is written in a text is cut up like any other "+
			"word, as in transformers", cfg.path)
	}
	if err := t.addConfigured(cfg); err != nil {
		return nil, err
	}
	t.checkBOS(cfg)
	if id, ok := t.ID(cfg.bos); ok && cfg.bos != "" {
		t.bos = id
	}
	return t, t.findEOS(cfg, cfgEOS)
}

// fileLimit is the length in bytes that no tokenizer's file has; the largest known, of 260,000 tokens, has 35 MB.
const fileLimit = 256 << 20

// addConfigured adds the tokens that the files beside the tokenizer's own name.
func (t *Tokenizer) addConfigured(cfg config) error {
	list, err := cfg.tokens(t.added)
	if err != nil {
		return err
	}
	if filepath.Base(t.path) == "tokenizer.model" {
		for i := range list {
			list[i].Normalized = false // LlamaTokenizer has nothing that would normalize them
		}
	}
	if err := t.addTokens(list); err != nil {
		return errs.Dataf("%s: %w", cfg.path, err)
	}
	return nil
}

// note keeps something to tell the user.
func (t *Tokenizer) note(format string, a ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, a...))
}

// Notes are what a user should know of how the files were read.
func (t *Tokenizer) Notes() []string { return t.notes }

// put records the text of a token.
func (t *Tokenizer) put(id int32, s string) {
	for int(id) >= len(t.tokens) {
		t.tokens = append(t.tokens, "")
	}
	t.tokens[id] = s
}

// addTokens puts added tokens into their tables, beside those that are there. One that the vocabulary holds has its
// id; any other gets the next free one, as in the library, which does not look at what the file says.
func (t *Tokenizer) addTokens(list []addedToken) error {
	if t.ids == nil {
		t.ids = map[string]int32{}
	}
	next := int32(t.model.size())
	for _, id := range t.ids {
		next = max(next, id+1)
	}
	for _, a := range list {
		if a.Content == "" {
			continue
		}
		id, ok := t.ID(a.Content)
		if !ok {
			id = next
			next++
		}
		if a.ID >= 0 && id != a.ID {
			t.note("%s: the added token %q has id %d there and gets id %d, as in transformers, which counts on from the "+
				"vocabulary", a.file, a.Content, a.ID, id)
		}
		a.ID = id
		t.ids[a.Content] = id
		t.put(id, a.Content)
		t.added = append(t.added, a)
	}
	var raw, normal []addedToken
	all := 0
	for _, a := range t.added {
		all += len(a.Content)
	}
	shared := newBound(all) // of what normalizers write for all of them
	shared.room = shared.most
	seen := map[string]bool{}
	for i := len(t.added) - 1; i >= 0; i-- { // the last of the same content counts
		a := t.added[i]
		if seen[a.Content] {
			continue
		}
		seen[a.Content] = true
		if !a.Normalized {
			raw = append(raw, a)
			continue
		}
		n, err := rewriteAll(text{s: a.Content, bound: shared}, t.normalizers, false)
		if err != nil {
			return fmt.Errorf("the added token %q: %w", a.Content, err)
		}
		if n.s != "" {
			a.Content = n.s
			normal = append(normal, a)
			t.put(a.ID, n.s) // and is decoded from that, as in the library
		}
	}
	t.raw, t.normal = newAddedTokens(raw, t.split), newAddedTokens(normal, t.split)
	return nil
}

// Describe names a token for a message: its id, its text and the file that it stands in.
func (t *Tokenizer) Describe(id int32) string {
	if id < 0 || int(id) >= len(t.tokens) {
		return fmt.Sprintf("token %d, which %s does not have", id, t.path)
	}
	file := t.path
	for _, a := range t.added {
		if a.ID == id {
			file = a.file
		}
	}
	text, err := t.Decode([]int32{id})
	if err != nil || text == "" || strings.Contains(text, "\uFFFD") {
		text = t.tokens[id]
	}
	return fmt.Sprintf("token %d (%q of %s)", id, text, file)
}

// Configured is a hash of what the files beside the tokenizer's own change: the tokens that they add, and whether
// special ones are split; "" where they change nothing.
func (t *Tokenizer) Configured() string {
	h, n := sha256.New(), 0
	for _, a := range t.added {
		if a.file != t.path {
			fmt.Fprintf(h, "%d %q %v %v %v %v\n", a.ID, a.Content, a.SingleWord, a.LStrip, a.RStrip, a.Normalized)
			n++
		}
	}
	if t.split {
		fmt.Fprintln(h, "split special tokens")
		n++
	}
	if n == 0 {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// BOS is the token that stands in front of a text, if the tokenizer puts one there.
func (t *Tokenizer) BOS() (int32, bool) {
	if len(t.prefix) == 0 {
		return 0, false
	}
	return t.prefix[0], true
}

// AddBOS puts BOS in front of texts whatever the files say: "always" or "never"; "auto" and "" leave it to them. BOS
// is what the files put there, else tokenizer_config.json's bos_token, else tokenizer.model's.
func (t *Tokenizer) AddBOS(when string) error {
	switch {
	case when == "never":
		t.prefix = nil
	case when == "always" && len(t.prefix) == 0:
		if t.bos < 0 {
			return errs.Dataf("%s: %s always: no file says which token begins a text; name it as bos_token in %s",
				t.path, errs.Option("add-bos"), filepath.Join(t.dir, "tokenizer_config.json"))
		}
		t.prefix = []int32{t.bos}
	}
	return nil
}

// EOS is the token that ends a document, if any file says which.
func (t *Tokenizer) EOS() (int32, bool) { return t.eos, t.eos >= 0 }

// Size is the highest id plus one. A model may have fewer rows: ids beyond them must not occur.
func (t *Tokenizer) Size() int { return len(t.tokens) }

// ID is the id of a token by its text, added tokens first.
func (t *Tokenizer) ID(token string) (int32, bool) {
	if id, ok := t.ids[token]; ok {
		return id, true
	}
	return t.model.id(token)
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
