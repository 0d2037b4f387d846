package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder changes the texts of tokens; the results joined are the text.
type decoder func(tokens []string) []string

// decoderOf reads a decoder of tokenizer.json.
func decoderOf(raw json.RawMessage) (decoder, error) {
	if null(raw) {
		return func(tokens []string) []string { return []string{strings.Join(tokens, " ")} }, nil
	}
	var p struct {
		Type           string            `json:"type"`
		Decoders       []json.RawMessage `json:"decoders"`
		Pattern        pattern           `json:"pattern"`
		Content        string            `json:"content"`
		Start          int               `json:"start"`
		Stop           int               `json:"stop"`
		Replacement    string            `json:"replacement"`
		PrependScheme  string            `json:"prepend_scheme"`
		AddPrefixSpace *bool             `json:"add_prefix_space"`
		Suffix         string            `json:"suffix"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	switch p.Type {
	case "Sequence":
		var all []decoder
		for _, q := range p.Decoders {
			d, err := decoderOf(q)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
		return chain(all...), nil
	case "ByteLevel":
		return unspellAll, nil
	case "ByteFallback":
		return joinBytes, nil
	case "Fuse":
		return fuse, nil
	case "Strip":
		return each(func(s string) string { return stripEnds(s, p.Content, p.Start, p.Stop) }), nil
	case "Replace":
		find, err := p.Pattern.finder()
		if err != nil {
			return nil, fmt.Errorf("in Replace: %w", err)
		}
		r := replace(find, p.Content)
		return each(func(s string) string {
			t, _ := r(text{s: s}, false)
			return t.s
		}), nil
	case "Metaspace":
		return unspace(p.Replacement, p.PrependScheme != "never" && (p.AddPrefixSpace == nil || *p.AddPrefixSpace)), nil
	case "BPEDecoder":
		return func(tokens []string) []string {
			for i, s := range tokens {
				with := " "
				if i == len(tokens)-1 {
					with = ""
				}
				tokens[i] = strings.ReplaceAll(s, p.Suffix, with)
			}
			return tokens
		}, nil
	}
	return nil, fmt.Errorf("type %q is not supported", p.Type)
}

func chain(all ...decoder) decoder {
	return func(tokens []string) []string {
		for _, d := range all {
			tokens = d(tokens)
		}
		return tokens
	}
}

func each(f func(string) string) decoder {
	return func(tokens []string) []string {
		for i, s := range tokens {
			tokens[i] = f(s)
		}
		return tokens
	}
}

func fuse(tokens []string) []string { return []string{strings.Join(tokens, "")} }

// unspellAll spells tokens out as bytes; one that holds another character stands as it is.
func unspellAll(tokens []string) []string {
	for i, s := range tokens {
		if b, ok := unspell(s); ok {
			tokens[i] = b
		}
	}
	return []string{ReplaceInvalid(strings.Join(tokens, ""))}
}

// joinBytes turns runs of byte tokens into text, or into one U+FFFD a byte where they are no text.
func joinBytes(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		if len(run) > 0 && utf8.Valid(run) {
			out = append(out, string(run))
		} else if len(run) > 0 {
			out = append(out, strings.Repeat("\uFFFD", len(run)))
		}
		run = run[:0]
	}
	for _, s := range tokens {
		if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
			if b, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}

// stripEnds takes at most start and stop times c off the ends of s.
func stripEnds(s, c string, start, stop int) string {
	if c == "" {
		return s
	}
	for ; start > 0 && strings.HasPrefix(s, c); start-- {
		s = s[len(c):]
	}
	for ; stop > 0 && strings.HasSuffix(s, c); stop-- {
		s = s[:len(s)-len(c)]
	}
	return s
}

// unspace writes spaces for the replacement; the first token's are left out where one was put in front.
func unspace(replacement string, lead bool) decoder {
	return func(tokens []string) []string {
		for i, s := range tokens {
			with := " "
			if i == 0 && lead {
				with = ""
			}
			tokens[i] = strings.ReplaceAll(s, replacement, with)
		}
		return tokens
	}
}

// Decode returns the text of ids, special tokens written out. Bytes that are no valid UTF-8 become U+FFFD,
// so the text of a cut sequence may end in one. Ids outside the vocabulary add nothing.
func (t *Tokenizer) Decode(ids []int32) string {
	toks := make([]string, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.tokens) && t.tokens[id] != "" {
			toks = append(toks, t.tokens[id])
		}
	}
	return strings.Join(t.decode(toks), "")
}

// Stream decodes tokens as they come, so that what it has given so far is always the beginning of the whole text.
// A character is given when its last byte has come.
type Stream struct {
	t       *Tokenizer
	ids     []int32 // the tokens given last, as context, and those not given yet
	context int     // how many have been given
	given   int     // length in bytes of the text of the context
}

// Stream begins decoding.
func (t *Tokenizer) Stream() *Stream { return &Stream{t: t} }

// Next takes the next token and returns the text that has become certain, maybe none.
func (s *Stream) Next(id int32) string {
	s.ids = append(s.ids, id)
	all := s.t.Decode(s.ids)
	// An unfinished character shows as U+FFFD at the end.
	if strings.HasSuffix(all, "\uFFFD") || len(all) <= s.given {
		return ""
	}
	out := all[s.given:]
	s.ids = slices.Delete(s.ids, 0, s.context)
	s.context, s.given = len(s.ids), len(s.t.Decode(s.ids))
	return out
}

// Rest returns what Next has held back: the end of a sequence that stops within a character, as Decode gives it.
func (s *Stream) Rest() string {
	all := s.t.Decode(s.ids)
	out := all[min(s.given, len(all)):]
	s.ids, s.context, s.given = nil, 0, 0
	return out
}
