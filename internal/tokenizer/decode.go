package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"longlora/internal/errs"
	"longlora/internal/tokenizer/onig"
)

// decoder changes the texts of tokens; the results joined are the text. It fails where a pattern of the file takes more
// steps than a text of that length may take.
type decoder func(tokens []string) ([]string, error)

// decoderOf reads a decoder of tokenizer.json.
func decoderOf(raw json.RawMessage) (decoder, error) {
	if null(raw) {
		return always(func(tokens []string) []string { return []string{strings.Join(tokens, " ")} }), nil
	}
	parts, err := sequence(raw, "decoders")
	if err != nil {
		return nil, err
	}
	var all []decoder
	times := 1
	for _, p := range parts {
		d, grows, err := decoderPart(p)
		if err != nil {
			return nil, err
		}
		if times *= grows; times > maxDecoded {
			return nil, fmt.Errorf("it writes more than %d letters for one; take out the parts that lengthen a text", maxDecoded)
		}
		all = append(all, d)
	}
	return chain(all...), nil
}

// maxDecoded is how many bytes a decoder may make of one, by the worst of each of its parts.
const maxDecoded = 1 << 10

// decoderPart reads a decoder that is no Sequence. It makes at most grows bytes of one.
func decoderPart(raw json.RawMessage) (d decoder, grows int, err error) {
	var p struct {
		Type           string  `json:"type"`
		Pattern        pattern `json:"pattern"`
		Content        string  `json:"content"`
		Start          int     `json:"start"`
		Stop           int     `json:"stop"`
		Replacement    string  `json:"replacement"`
		PrependScheme  string  `json:"prepend_scheme"`
		AddPrefixSpace *bool   `json:"add_prefix_space"`
		Suffix         string  `json:"suffix"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, 0, err
	}
	switch p.Type {
	case "ByteLevel":
		return always(unspellAll), 3, nil // a byte that is no text becomes U+FFFD
	case "ByteFallback":
		return always(joinBytes), 1, nil
	case "Fuse":
		return always(fuse), 1, nil
	case "Strip":
		return each(func(s string) string { return stripEnds(s, p.Content, p.Start, p.Stop) }), 1, nil
	case "Replace":
		find, err := p.Pattern.finder()
		if err != nil {
			return nil, 0, fmt.Errorf("in Replace: %w", err)
		}
		grows = 1 + len(p.Content) // a match of nothing before each letter
		if p.Pattern.String != nil {
			grows = max(1, (len(p.Content)+len(*p.Pattern.String)-1)/len(*p.Pattern.String))
		}
		return replaceAll(replace(find, p.Content)), grows, nil
	case "Metaspace":
		if p.Replacement == "" {
			return nil, 0, errors.New("in Metaspace: replacement is missing")
		}
		return unspace(p.Replacement, p.PrependScheme != "never" && (p.AddPrefixSpace == nil || *p.AddPrefixSpace)), 1, nil
	case "BPEDecoder":
		if p.Suffix == "" {
			return nil, 0, errors.New("in BPEDecoder: suffix is missing")
		}
		return unsuffix(p.Suffix), 1, nil
	}
	return nil, 0, fmt.Errorf("type %q is not supported", p.Type)
}

// unsuffix writes a space for the suffix of each token but the last.
func unsuffix(suffix string) decoder {
	return always(func(tokens []string) []string {
		for i, s := range tokens {
			with := " "
			if i == len(tokens)-1 {
				with = ""
			}
			tokens[i] = strings.ReplaceAll(s, suffix, with)
		}
		return tokens
	})
}

// always is a decoder that never fails.
func always(f func(tokens []string) []string) decoder {
	return func(tokens []string) ([]string, error) { return f(tokens), nil }
}

// replaceAll applies a replacement to each token. All tokens share the steps that a text of their length may take.
func replaceAll(r rewrite) decoder {
	return func(tokens []string) ([]string, error) {
		all := 0
		for _, s := range tokens {
			all += len(s)
		}
		// how much it writes is bounded by maxDecoded
		b := &bound{most: math.MaxInt, room: math.MaxInt, steps: onig.Steps(all)}
		for i, s := range tokens {
			t, err := r(text{s: s, bound: b}, false)
			if err != nil {
				return nil, err
			}
			tokens[i] = t.s
		}
		return tokens, nil
	}
}

func chain(all ...decoder) decoder {
	return func(tokens []string) (_ []string, err error) {
		for _, d := range all {
			if tokens, err = d(tokens); err != nil {
				return nil, err
			}
		}
		return tokens, nil
	}
}

func each(f func(string) string) decoder {
	return always(func(tokens []string) []string {
		for i, s := range tokens {
			tokens[i] = f(s)
		}
		return tokens
	})
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
	return always(func(tokens []string) []string {
		for i, s := range tokens {
			with := " "
			if i == 0 && lead {
				with = ""
			}
			tokens[i] = strings.ReplaceAll(s, replacement, with)
		}
		return tokens
	})
}

// Decode returns the text of ids, special tokens written out. Bytes that are no valid UTF-8 become U+FFFD,
// so the text of a cut sequence may end in one. Ids outside the vocabulary add nothing. It fails, as a data error that
// names the tokenizer's file, where that file's decoder takes too many steps on the tokens.
func (t *Tokenizer) Decode(ids []int32) (string, error) {
	toks := make([]string, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && int(id) < len(t.tokens) && t.tokens[id] != "" {
			toks = append(toks, t.tokens[id])
		}
	}
	out, err := t.decode(toks)
	if err != nil {
		return "", errs.Dataf("%s: decoder: %w", t.path, err)
	}
	return strings.Join(out, ""), nil
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

// Next takes the next token and returns the text that has become certain, maybe none. It fails as Decode does.
func (s *Stream) Next(id int32) (string, error) {
	s.ids = append(s.ids, id)
	all, err := s.t.Decode(s.ids)
	// An unfinished character shows as U+FFFD at the end.
	if err != nil || strings.HasSuffix(all, "\uFFFD") || len(all) <= s.given {
		return "", err
	}
	out := all[s.given:]
	s.ids = slices.Delete(s.ids, 0, s.context)
	context, err := s.t.Decode(s.ids)
	s.context, s.given = len(s.ids), len(context)
	return out, err
}

// Rest returns what Next has held back: the end of a sequence that stops within a character, as Decode gives it.
func (s *Stream) Rest() (string, error) {
	all, err := s.t.Decode(s.ids)
	out := all[min(s.given, len(all)):]
	s.ids, s.context, s.given = nil, 0, 0
	return out, err
}
