package tokenizer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// Vocabulary is a tokenizer in the terms of llama.cpp, as a GGUF file has it.
type Vocabulary struct {
	Model  string           // gpt2: merges of bytes; llama: pieces joined by score, as in sentencepiece
	Pre    string           // llama.cpp's name for how a text is cut into words
	Tokens []string         // by id
	Types  []PieceType      // by id
	Scores []float32        // by id, of the model llama
	Merges []string         // "left right", of the model gpt2
	Space  bool             // of the model llama: a space is written before a text, and behind a special token
	Prefix []int32          // what stands in front of a text
	Named  map[string]int32 // the special tokens that the configuration names: bos, eos, unk, sep, pad, cls, mask
	Strips bool             // special tokens take the white space behind them, but unk, bos and eos
	Notes  []string         // where llama.cpp makes other tokens of a text
	rows   int
}

// PieceType is what llama.cpp calls a token's type.
type PieceType int32

// The types.
const (
	NormalToken PieceType = iota + 1
	UnknownToken
	ControlToken
	UserToken
	UnusedToken
	ByteToken
)

// Vocabulary gives the tokenizer as llama.cpp has one, for a model with so many rows of embeddings. What llama.cpp
// would read otherwise in any text is an error that names the field; where only rare texts differ it is noted.
func (t *Tokenizer) Vocabulary(rows int) (*Vocabulary, error) {
	if t.merging() == nil {
		return nil, errs.Dataf("%s: a Unigram model, which is not written into a GGUF file; merge instead, and give the "+
			"folder to llama.cpp's convert_hf_to_gguf.py", t.path)
	}
	v := &Vocabulary{rows: rows, Prefix: t.prefix, Tokens: make([]string, rows), Types: make([]PieceType, rows)}
	blob, err := files.Read(t.path, fileLimit)
	if err != nil {
		return nil, err
	}
	if filepath.Base(t.path) == "tokenizer.model" {
		var m *spModel
		if m, err = readModel(blob); err == nil {
			err = v.fromModel(t, m)
		}
	} else {
		f := &file{}
		if err = f.read(blob); err == nil {
			err = v.fromJSON(t, f)
		}
	}
	if err != nil {
		return nil, errs.Dataf("%s: %w, which llama.cpp does not compute, so this tokenizer cannot be exported", t.path, err)
	}
	if err := v.addNamed(t); err != nil {
		return nil, err
	}
	if err := v.addAdded(t); err != nil {
		return nil, errs.Dataf("%s: %w", t.path, err)
	}
	v.fill()
	if n := t.Size(); n > rows {
		v.note("%s: it has %d tokens, the model %d rows: those from id %d on are left out", t.path, n, rows, rows)
	}
	return v, nil
}

func (v *Vocabulary) note(format string, a ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, a...))
}

// put records a token.
func (v *Vocabulary) put(id int32, text string, kind PieceType) {
	if int(id) < v.rows {
		v.Tokens[id], v.Types[id] = text, kind
	}
}

// fromModel takes a sentencepiece model over as it is.
func (v *Vocabulary) fromModel(t *Tokenizer, m *spModel) error {
	if m.squeeze {
		return fmt.Errorf("normalizer_spec.remove_extra_whitespaces is true")
	}
	if !m.byteFallback {
		return fmt.Errorf("trainer_spec.byte_fallback is false")
	}
	v.Model, v.Pre, v.Scores = "llama", "default", make([]float32, v.rows)
	for id, p := range m.pieces {
		v.put(int32(id), p.text, PieceType(p.kind))
		if id < v.rows {
			v.Scores[id] = p.score
		}
	}
	cfg, err := readConfig(t.dir)
	if err != nil {
		return err
	}
	if v.Space = m.dummyPrefix && cfg.addPrefix; v.Space && !cfg.legacy {
		v.noteSpace(t, "legacy is false")
	}
	return nil
}

// noteSpace says where llama.cpp puts a space and the tokenizer does not.
func (v *Vocabulary) noteSpace(t *Tokenizer, why string) {
	v.note("%s: %s: llama.cpp writes a space before a text that begins with one, and behind a special token, where this "+
		"tokenizer does not; such texts get other ids there", t.path, why)
}

// fromJSON reads tokenizer.json: merges of bytes, or merges of characters as sentencepiece's.
func (v *Vocabulary) fromJSON(t *Tokenizer, f *file) error {
	m := t.merging()
	switch {
	case m.prefix != "":
		return fmt.Errorf("model.continuing_subword_prefix %q", m.prefix)
	case m.suffix != "":
		return fmt.Errorf("model.end_of_word_suffix %q", m.suffix)
	case m.byteLevel:
		v.noteBytes(t)
		return v.ofBytes(t, f)
	}
	return v.ofPieces(t, f)
}

// noteBytes says of which bytes the vocabulary has no token, among those that a text can have. llama.cpp leaves such a
// byte out; here what stands on its two sides can be merged besides, or the unknown token is written.
func (v *Vocabulary) noteBytes(t *Tokenizer) {
	var list []string
	for b, id := range t.merging().byteID {
		if in := b < 0xc0 || b > 0xc1 && b < 0xf5; in && id < 0 { // no other byte is part of UTF-8
			list = append(list, fmt.Sprintf("0x%02x", b))
		}
	}
	if n := len(list); n > 8 {
		list = append(list[:8], fmt.Sprintf("and %d more", n-8))
	}
	if len(list) > 0 {
		v.note("%s: model.vocab has no token for the bytes %s; words with one of them can get other ids in llama.cpp",
			t.path, strings.Join(list, ", "))
	}
}

// ofBytes is byte-level BPE, whose words llama.cpp knows by a name.
func (v *Vocabulary) ofBytes(t *Tokenizer, f *file) error {
	v.Model = "gpt2"
	if err := v.normalizer(t, f); err != nil {
		return err
	}
	cuts, err := cutsOf(f.Pre)
	if err != nil {
		return fmt.Errorf("pre_tokenizer: %w", err)
	}
	if err := v.choosePre(t, f, cuts); err != nil {
		return err
	}
	for s, id := range f.Model.Vocab {
		v.put(id, s, NormalToken)
	}
	for i, l := range f.Model.Merges.left {
		v.Merges = append(v.Merges, l+" "+f.Model.Merges.right[i])
	}
	return nil
}

// normalizer accepts none, and NFC, which llama.cpp leaves out.
func (v *Vocabulary) normalizer(t *Tokenizer, f *file) error {
	parts, err := typed(f.Normalizer, "normalizers")
	if err != nil {
		return err
	}
	for _, p := range parts {
		if p.Type != "NFC" {
			return fmt.Errorf("normalizer of type %s", p.Type)
		}
		v.note("%s: normalizer NFC: llama.cpp does not apply it: a text that is not in that form gets other ids there",
			t.path)
	}
	return nil
}

// addNamed finds the special tokens that have a name.
func (v *Vocabulary) addNamed(t *Tokenizer) error {
	cfg, err := readConfig(t.dir)
	if err != nil {
		return err
	}
	v.Named = map[string]int32{}
	for _, name := range namedTokens {
		raw := cfg.fields.get(name)
		if raw == nil {
			raw = cfg.special.get(name)
		}
		if raw == nil {
			continue
		}
		a, err := parseToken(raw)
		if err != nil {
			return errs.Dataf("%s: %s %w", cfg.path, name, err)
		}
		if id, ok := t.ID(a.Content); ok && int(id) < v.rows {
			v.Named[strings.TrimSuffix(name, "_token")] = id
		}
	}
	if id, ok := t.EOS(); ok && int(id) < v.rows {
		v.Named["eos"] = id
	}
	if len(v.Prefix) == 1 {
		v.Named["bos"] = v.Prefix[0]
	}
	return nil
}

// unstripped are the special tokens that leave the white space behind them in a model called phi-3.
var unstripped = []string{"<unk>", "<s>", "<|endoftext|>"}

// addAdded writes the added tokens over what the vocabulary has.
func (v *Vocabulary) addAdded(t *Tokenizer) error {
	_, v.Strips = t.ID("</s>")
	some := false
	for _, a := range t.added {
		some = some || a.RStrip
		v.Strips = v.Strips && a.RStrip == !slices.Contains(unstripped, a.Content)
	}
	v.Strips = v.Strips && some
	made := map[int32]bool{} // by merges
	for _, m := range t.merging().merges {
		made[m.id] = true
	}
	var other []string
	for _, a := range t.added {
		kind := UserToken
		switch {
		case int(a.ID) < v.rows && (v.Types[a.ID] == UnknownToken || v.Types[a.ID] == ByteToken):
			kind = v.Types[a.ID]
		case a.Special:
			kind = ControlToken
		case v.Model != "llama" || !strings.ContainsRune(a.Content, metaspace):
		case made[a.ID]:
			kind = NormalToken // its pieces are joined to it, and it is written with spaces
		case t.joined(a.Content):
			return fmt.Errorf("added_tokens: %q is what spaces in a text become, and llama.cpp would join them to it, "+
				"where this tokenizer does not; it cannot be exported with this token", a.Content)
		}
		v.put(a.ID, a.Content, kind)
		normal, err := rewriteAll(text{s: a.Content, bound: newBound(len(a.Content))}, t.normalizers, false)
		rewritten := a.Normalized && (err != nil || normal.s != a.Content)
		if a.LStrip || a.SingleWord || a.RStrip && !v.Strips || rewritten {
			other = append(other, fmt.Sprintf("%q", a.Content))
		}
	}
	if len(other) > 3 {
		other = append(other[:3], "…")
	}
	if len(other) > 0 {
		v.note("%s: added_tokens: lstrip, rstrip, single_word or normalized of %s: llama.cpp matches a token as it is "+
			"written, without these; the text beside one may get other ids there", t.path, strings.Join(other, ", "))
	}
	if t.split {
		v.note("%s: split_special_tokens is true, which in llama.cpp is a choice of the program that runs the model",
			filepath.Join(t.dir, "tokenizer_config.json"))
	}
	return nil
}

// merging is the model where it is one of merges; nil elsewhere.
func (t *Tokenizer) merging() *bpe {
	m, _ := t.model.(*bpe)
	return m
}

// joined reports whether a text is two tokens of the vocabulary, one after the other.
func (t *Tokenizer) joined(s string) bool {
	for i := range s {
		_, okX := t.model.id(s[:i])
		if _, okY := t.model.id(s[i:]); okX && okY {
			return true
		}
	}
	return false
}

// fill gives each row without a token a text that no other has.
func (v *Vocabulary) fill() {
	seen := make(map[string]bool, len(v.Tokens))
	for i, s := range v.Tokens {
		if v.Types[i] != 0 {
			seen[s] = true
		}
	}
	for i := range v.Tokens {
		if v.Types[i] != 0 {
			continue
		}
		s := fmt.Sprintf("[PAD%d]", i)
		for seen[s] {
			s += "]"
		}
		v.Tokens[i], v.Types[i], seen[s] = s, UnusedToken, true
		if v.Scores != nil {
			v.Scores[i] = -10000
		}
	}
}
