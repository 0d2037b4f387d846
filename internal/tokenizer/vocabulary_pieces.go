package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// ofPieces is BPE of characters with a space written as ▁, as tokenizer.json has a sentencepiece model. llama.cpp
// joins two neighbours wherever the vocabulary has what they make, the best score first, the leftmost among equals.
// That is what the merges do if every way to make a token of two others is a merge, and each token's merges follow one
// another; a token's score is then its place in that order.
func (v *Vocabulary) ofPieces(t *Tokenizer, f *file) error {
	m := &f.Model
	if !m.ByteFallback {
		return fmt.Errorf("model.byte_fallback is false")
	}
	for b := range 256 {
		if _, ok := m.Vocab[byteToken(b)]; !ok {
			return fmt.Errorf("model.byte_fallback without a token %s", byteToken(b))
		}
	}
	if m.IgnoreMerges {
		return fmt.Errorf("model.ignore_merges is true beside byte_fallback")
	}
	v.Model, v.Pre, v.Scores = "llama", "default", make([]float32, v.rows)
	if err := v.spaces(t, f); err != nil {
		return err
	}
	score, err := f.scores(t)
	if err != nil {
		return err
	}
	for s, id := range m.Vocab {
		kind := NormalToken
		switch {
		case m.Unk != nil && s == *m.Unk:
			kind = UnknownToken
		case isByteToken(s):
			kind = ByteToken
		}
		v.put(id, s, kind)
		if int(id) < v.rows {
			v.Scores[id] = score[id]
		}
	}
	return nil
}

// isByteToken tells a token that stands for a byte: <0x0A>.
func isByteToken(s string) bool {
	return len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>'
}

// spaces reads how a space is written: by normalizers (LLaMA's, Gemma's) or by a Metaspace.
func (v *Vocabulary) spaces(t *Tokenizer, f *file) error {
	normal, err := typed(f.Normalizer, "normalizers")
	if err != nil {
		return err
	}
	pre, err := typed(f.Pre, "pretokenizers")
	if err != nil {
		return err
	}
	escaped := false
	for i, p := range normal {
		switch {
		case p.Type == "Prepend" && i == 0: // its field is read below
			v.Space = true
		case p.Type == "Replace" && p.Pattern.String != nil && *p.Pattern.String == " ":
			escaped = true
		default:
			return fmt.Errorf("normalizer of type %s in this place", p.Type)
		}
	}
	for _, p := range pre {
		switch {
		case p.Type == "Split" && escaped && p.Pattern.String != nil && *p.Pattern.String == " ":
			// no space is left to cut at
		case p.Type == "Metaspace" && !escaped && p.Replacement == string(metaspace):
			escaped = true
			if err := v.metaspace(t, f, p); err != nil {
				return err
			}
		default:
			return fmt.Errorf("pre_tokenizer of type %s in this place", p.Type)
		}
	}
	if got, err := t.spelled("a b"); !escaped || err != nil || got != v.lead()+"a▁b" {
		return fmt.Errorf("normalizer: a space is not written as ▁, or something else stands before a text")
	}
	return nil
}

// lead is what stands before a text.
func (v *Vocabulary) lead() string {
	if v.Space {
		return string(metaspace)
	}
	return ""
}

// metaspace reads a Metaspace.
func (v *Vocabulary) metaspace(t *Tokenizer, f *file, p preTokenizer) error {
	scheme := p.PrependScheme
	if scheme == "" {
		scheme = "always"
	}
	if p.AddPrefixSpace != nil && !*p.AddPrefixSpace {
		scheme = "never"
	}
	if v.Space = scheme != "never"; v.Space {
		v.noteSpace(t, "pre_tokenizer.prepend_scheme is "+scheme)
	}
	if p.Split == nil || *p.Split {
		for s := range f.Model.Vocab {
			if strings.LastIndex(s, string(metaspace)) > 0 {
				return fmt.Errorf("pre_tokenizer.split is true, and token %q spans two words", s)
			}
		}
	}
	return nil
}

// spelled is a text as the model sees it.
func (t *Tokenizer) spelled(s string) (string, error) {
	x, err := rewriteAll(text{s: s, bound: newBound(len(s))}, t.normalizers, false)
	for _, p := range t.steps {
		if p.rewrite != nil && err == nil {
			x, err = p.rewrite(x, false)
		}
	}
	return x.s, err
}

// scores are the scores by which llama.cpp joins pieces as the merges do.
func (f *file) scores(t *Tokenizer) (map[int32]float32, error) {
	vocab, merges := f.Model.Vocab, &f.Model.Merges
	score := make(map[int32]float32, len(vocab))
	place, last := float32(0), int32(-1)
	for i, l := range merges.left {
		id := vocab[l+merges.right[i]]
		if id == last {
			continue
		}
		if _, twice := score[id]; twice {
			return nil, fmt.Errorf("model.merges[%d]: %q is made here and further before, of other parts: the order of merges "+
				"is not one of tokens", i, l+merges.right[i])
		}
		score[id], last = -place, id
		place++
	}
	for _, s := range slices.Sorted(maps.Keys(vocab)) {
		id := vocab[s]
		if _, added := t.ids[s]; added || isByteToken(s) || utf8.RuneCountInString(s) < 2 {
			continue
		}
		for i := range s {
			x, okX := vocab[s[:i]]
			y, okY := vocab[s[i:]]
			if i == 0 || !okX || !okY {
				continue
			}
			if _, ok := t.merging().merges[pairKey(x, y)]; !ok {
				return nil, fmt.Errorf("model.merges: %q and %q are not merged, but their sum is token %d: llama.cpp would join "+
					"them",
					s[:i], s[i:], id)
			}
		}
	}
	for _, id := range vocab {
		if _, ok := score[id]; !ok {
			score[id] = -place // made of nothing
		}
	}
	return score, nil
}
