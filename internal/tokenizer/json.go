package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// file is tokenizer.json. Its "truncation" and "padding" are not read: transformers too encodes without them unless
// it is asked to.
type file struct {
	Added      []addedToken    `json:"added_tokens"`
	Normalizer json.RawMessage `json:"normalizer"`
	Pre        json.RawMessage `json:"pre_tokenizer"`
	Post       json.RawMessage `json:"post_processor"`
	Decoder    json.RawMessage `json:"decoder"`
	Model      struct {
		Type         string          `json:"type"`
		Entries      json.RawMessage `json:"vocab"` // read into Vocab, or pieces
		Merges       merges          `json:"merges"`
		IgnoreMerges bool            `json:"ignore_merges"`
		ByteFallback bool            `json:"byte_fallback"`
		Dropout      *float64        `json:"dropout"`
		Unk          *string         `json:"unk_token"`
		FuseUnk      bool            `json:"fuse_unk"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       *string         `json:"end_of_word_suffix"`
		UnkID        *int            `json:"unk_id"` // of Unigram, as pieces are

		Vocab  map[string]int32 `json:"-"`
		pieces scoredPieces
	} `json:"model"`
}

// read reads the whole of a file's text.
func (f *file) read(blob []byte) error {
	if err := json.Unmarshal(blob, f); err != nil {
		return err
	}
	m := &f.Model
	switch {
	case len(m.Entries) == 0:
		return nil
	case m.Type == "Unigram":
		return json.Unmarshal(m.Entries, &m.pieces)
	}
	return json.Unmarshal(m.Entries, &m.Vocab)
}

func null(b json.RawMessage) bool { return len(b) == 0 || bytes.Equal(b, []byte("null")) }

// merges are pairs, in the file as ["a", "b"] or, in older ones, as "a b".
type merges struct{ left, right []string }

func (m *merges) UnmarshalJSON(b []byte) error {
	var pairs [][]string
	if err := json.Unmarshal(b, &pairs); err == nil {
		for i, p := range pairs {
			if len(p) != 2 {
				return fmt.Errorf("model.merges[%d]: %q is no pair", i, p)
			}
			m.left, m.right = append(m.left, p[0]), append(m.right, p[1])
		}
		return nil
	}
	var lines []string
	if err := json.Unmarshal(b, &lines); err != nil {
		return fmt.Errorf("model.merges: %w", err)
	}
	for i, l := range lines {
		if strings.HasPrefix(l, "#version") {
			continue
		}
		x, y, ok := strings.Cut(l, " ")
		if !ok || strings.Contains(y, " ") {
			return fmt.Errorf("model.merges[%d]: %q is no pair", i, l)
		}
		m.left, m.right = append(m.left, x), append(m.right, y)
	}
	return nil
}

// parseJSON reads a tokenizer.json.
func parseJSON(path string, blob []byte) (*Tokenizer, error) {
	var f file
	if err := f.read(blob); err != nil {
		return nil, files.NotJSON(path, blob, err)
	}
	for i := range f.Added {
		f.Added[i].file = path
	}
	t, err := f.build()
	if err != nil {
		return nil, errs.Dataf("%s: %w", path, err)
	}
	t.path = path
	return t, nil
}

func (f *file) build() (*Tokenizer, error) {
	m := &f.Model
	switch {
	case m.Type != "BPE" && m.Type != "Unigram" && (m.Type != "" || m.Merges.left == nil):
		return nil, fmt.Errorf("model.type %q is not supported, only BPE and Unigram", m.Type)
	case m.Dropout != nil && *m.Dropout != 0:
		return nil, fmt.Errorf("model.dropout %g is not supported: encoding would be by chance; set it to null", *m.Dropout)
	case len(m.Vocab) == 0 && len(m.pieces) == 0:
		return nil, fmt.Errorf("model.vocab is missing")
	}
	t := &Tokenizer{bos: -1, eos: -1, longFrom: parallelFrom}
	var err error
	if t.normalizers, err = normalizers(f.Normalizer); err != nil {
		return nil, fmt.Errorf("normalizer: %w", err)
	}
	byteLevel := false
	if t.steps, byteLevel, err = preTokenizers(f.Pre); err != nil {
		return nil, fmt.Errorf("pre_tokenizer: %w", err)
	}
	if t.prefix, err = prefixOf(f.Post); err != nil {
		return nil, fmt.Errorf("post_processor: %w", err)
	}
	if t.decode, err = decoderOf(f.Decoder); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if m.Type == "Unigram" {
		t.model, err = f.unigram()
	} else {
		t.model, err = f.bpe(byteLevel)
	}
	if err != nil {
		return nil, err
	}
	for id, s := range f.tokens() {
		t.put(id, s)
	}
	if err := t.addTokens(f.Added); err != nil {
		return nil, err
	}
	for _, id := range t.prefix {
		if int(id) >= len(t.tokens) {
			return nil, fmt.Errorf("post_processor: token id %d is outside the vocabulary", id)
		}
	}
	t.cuts = t.findCuts()
	return t, nil
}

// tokens yields the vocabulary by id.
func (f *file) tokens() func(yield func(int32, string) bool) {
	return func(yield func(int32, string) bool) {
		for s, id := range f.Model.Vocab {
			if !yield(id, s) {
				return
			}
		}
		for id, p := range f.Model.pieces {
			if !yield(int32(id), p.text) {
				return
			}
		}
	}
}

// maxID is far above every vocabulary; it keeps a corrupt file from taking all memory.
const maxID = 1 << 22

// maxAffix is longer than every known prefix or suffix, of four bytes.
const maxAffix = 64

// bpe builds the model's tables.
func (f *file) bpe(byteLevel bool) (*bpe, error) {
	s := &f.Model
	m := &bpe{vocab: s.Vocab, merges: make(map[uint64]merge, len(s.Merges.left)), byteLevel: byteLevel,
		byteFallback: s.ByteFallback, unk: -1, fuseUnk: s.FuseUnk}
	if s.Prefix != nil {
		m.prefix = *s.Prefix
	}
	if s.Suffix != nil {
		m.suffix = *s.Suffix
	}
	if n := len(m.prefix) + len(m.suffix); n > maxAffix { // they are written beside each character
		return nil, fmt.Errorf("model.continuing_subword_prefix and end_of_word_suffix have %d bytes; at most %d are "+
			"supported", n, maxAffix)
	}
	if s.IgnoreMerges {
		m.whole = map[string]int32{}
	}
	seen := make(map[int32]string, len(s.Vocab))
	for token, id := range s.Vocab {
		if id < 0 || id > maxID {
			return nil, fmt.Errorf("model.vocab: token %q has id %d", token, id)
		}
		if other, ok := seen[id]; ok {
			return nil, fmt.Errorf("model.vocab: tokens %q and %q both have id %d", min(token, other), max(token, other), id)
		}
		seen[id] = token
		if m.whole != nil {
			if !byteLevel {
				m.whole[token] = id
			} else if word, ok := unspell(token); ok {
				m.whole[word] = id
			}
		}
	}
	missing := false
	for b := range m.byteID {
		name := byteToken(b)
		if byteLevel {
			name = string(byteRunes[b])
		}
		id, ok := s.Vocab[name]
		if !ok {
			id, missing = -1, true
		}
		m.byteID[b] = id
	}
	m.plain = byteLevel && !missing && m.prefix == "" && m.suffix == ""
	if byteLevel && m.byteFallback && !m.plain {
		return nil, fmt.Errorf("model.byte_fallback is not supported together with ByteLevel where a byte has no token, or " +
			"with a prefix or suffix")
	}
	if s.Unk != nil {
		id, ok := s.Vocab[*s.Unk]
		if !ok {
			return nil, fmt.Errorf("model.unk_token %q is not in model.vocab", *s.Unk)
		}
		m.unk = id
	}
	for rank, l := range s.Merges.left {
		r := s.Merges.right[rank]
		if len(r) < len(m.prefix) {
			return nil, fmt.Errorf("model.merges[%d]: %q is shorter than continuing_subword_prefix", rank, r)
		}
		a, okA := s.Vocab[l]
		b, okB := s.Vocab[r]
		c, okC := s.Vocab[l+r[len(m.prefix):]]
		if !okA || !okB || !okC {
			return nil, fmt.Errorf("model.merges[%d]: %q and %q or what they become is not in model.vocab", rank, l, r)
		}
		m.merges[pairKey(a, b)] = merge{int32(rank), c}
	}
	m.findJoins(s.Merges.left, s.Merges.right)
	return m, nil
}

// prefixOf reads what a post-processor puts in front of a text. What it puts behind is not read: the end of a
// document is marked by EOS.
func prefixOf(raw json.RawMessage) (all []int32, err error) {
	parts, err := sequence(raw, "processors")
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		ids, err := lead(p)
		if err != nil {
			return nil, err
		}
		if all = append(ids, all...); len(all) > maxParts {
			return nil, fmt.Errorf("more than %d tokens in front of a text", maxParts)
		}
	}
	if len(all) > 1 {
		return nil, fmt.Errorf("it puts %d tokens in front of a text, and one at most is put there; leave one in it", len(all))
	}
	return all, nil
}

// lead reads what a post-processor that is no Sequence puts in front.
func lead(raw json.RawMessage) ([]int32, error) {
	var p struct {
		Type     string                           `json:"type"`
		Single   []map[string]struct{ ID string } `json:"single"`
		Specials map[string]struct{ IDs []int32 } `json:"special_tokens"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	switch p.Type {
	case "ByteLevel": // trims spans only, which EncodeSpans does not
		return nil, nil
	case "TemplateProcessing":
		var ids []int32
		for _, piece := range p.Single {
			if _, text := piece["Sequence"]; text {
				return ids, nil
			}
			s, ok := p.Specials[piece["SpecialToken"].ID]
			if !ok {
				return nil, fmt.Errorf("in TemplateProcessing: special token %q is not listed", piece["SpecialToken"].ID)
			}
			for _, id := range s.IDs {
				if id < 0 || id > maxID {
					return nil, fmt.Errorf("in TemplateProcessing: special token %q has id %d", piece["SpecialToken"].ID, id)
				}
			}
			if ids = append(ids, s.IDs...); len(ids) > maxParts {
				return nil, fmt.Errorf("in TemplateProcessing: more than %d tokens in front of a text", maxParts)
			}
		}
		return nil, fmt.Errorf("in TemplateProcessing: single holds no text")
	}
	return nil, fmt.Errorf("type %q is not supported", p.Type)
}
