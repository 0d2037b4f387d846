package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// step is a part of pre-tokenization: it changes a piece or cuts it. Exactly one field of the three is set.
type step struct {
	rewrite rewrite
	next    func(s string) int                              // the length of the first piece of s; pieces cover the text
	find    func(t text, piece func(start, stop int)) error // calls piece for each piece in order
	// local says that a cut between a letter and a space that a letter follows is always made, whatever stands
	// before or behind (first) or, where false, that this is not known.
	local bool
}

// preTokenizer is a typed object under pre_tokenizer.
type preTokenizer struct {
	Type           string  `json:"type"`
	AddPrefixSpace *bool   `json:"add_prefix_space"`
	UseRegex       *bool   `json:"use_regex"`
	Pattern        pattern `json:"pattern"`
	Behavior       string  `json:"behavior"`
	Invert         bool    `json:"invert"`
	Individual     bool    `json:"individual_digits"`
	Replacement    string  `json:"replacement"`
	PrependScheme  string  `json:"prepend_scheme"`
	Split          *bool   `json:"split"`
}

// preTokenizers reads the steps of a pre-tokenizer. byteLevel says that the last of them spells bytes; that step is
// left out, the model works on bytes.
func preTokenizers(raw json.RawMessage) (steps []step, byteLevel bool, err error) {
	list, err := sequence(raw, "pretokenizers")
	if err != nil {
		return nil, false, err
	}
	for i, raw := range list {
		last := i == len(list)-1
		var p preTokenizer
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, false, err
		}
		switch p.Type {
		case "ByteLevel":
			if p.AddPrefixSpace == nil || *p.AddPrefixSpace {
				steps = append(steps, step{rewrite: leadWith(" ")})
			}
			if p.UseRegex == nil || *p.UseRegex {
				steps = append(steps, step{next: gpt2Piece, local: true})
			}
			if !last {
				steps = append(steps, step{rewrite: spellBytes})
			}
			byteLevel = last
		case "Digits":
			behavior := "Contiguous"
			if p.Individual {
				behavior = "Isolated"
			}
			s, err := splitStep(where(isNumeric), behavior, false)
			if err != nil {
				return nil, false, err
			}
			s.local = true
			steps = append(steps, s)
		case "Split":
			s, err := p.split()
			if err != nil {
				return nil, false, fmt.Errorf("in Split: %w", err)
			}
			steps = append(steps, s)
		case "Metaspace":
			s, err := p.metaspace()
			if err != nil {
				return nil, false, fmt.Errorf("in Metaspace: %w", err)
			}
			steps = append(steps, s...)
		case "Whitespace":
			steps = append(steps, step{find: wordPieces})
		case "WhitespaceSplit":
			s, _ := splitStep(where(unicode.IsSpace), "Removed", false)
			steps = append(steps, s)
		case "Punctuation":
			if p.Behavior == "" {
				p.Behavior = "Isolated"
			}
			s, err := splitStep(where(punctuation), p.Behavior, false)
			if err != nil {
				return nil, false, fmt.Errorf("in Punctuation: %w", err)
			}
			steps = append(steps, s)
		default:
			return nil, false, fmt.Errorf("type %q is not supported", p.Type)
		}
	}
	return steps, byteLevel, nil
}

func isNumeric(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '0' && r <= '9'
	}
	return unicode.Is(numeric, r)
}

// leadWith puts s in front of a text that does not begin with it.
func leadWith(s string) rewrite {
	put := prepend(s)
	return func(t text, track bool) (text, error) {
		if strings.HasPrefix(t.s, s) {
			return t, nil
		}
		return put(t, track)
	}
}

func (p preTokenizer) split() (step, error) {
	// A known pattern matches everything, so its matches are the pieces.
	if p.Pattern.Regex != nil && (behaviors[p.Behavior] == isolated && !p.Invert || behaviors[p.Behavior] == removed &&
		p.Invert) {
		if next := known(*p.Pattern.Regex); next != nil {
			return step{next: next, local: true}, nil
		}
	}
	find, err := p.Pattern.finder()
	if err != nil {
		return step{}, err
	}
	return splitStep(find, p.Behavior, p.Invert)
}

func (p preTokenizer) metaspace() ([]step, error) {
	if utf8.RuneCountInString(p.Replacement) != 1 {
		return nil, fmt.Errorf("replacement %q is no character", p.Replacement)
	}
	scheme := p.PrependScheme
	if scheme == "" {
		scheme = "always"
	}
	if p.AddPrefixSpace != nil && !*p.AddPrefixSpace {
		if p.PrependScheme != "" && scheme != "never" {
			return nil, fmt.Errorf("add_prefix_space is false but prepend_scheme is %q", scheme)
		}
		scheme = "never"
	}
	steps := []step{{rewrite: replace(literal(" "), p.Replacement)}}
	lead := leadWith(p.Replacement)
	switch scheme {
	case "always":
		steps = append(steps, step{rewrite: lead})
	case "first":
		steps = append(steps, step{rewrite: func(t text, track bool) (text, error) {
			if t.base != 0 {
				return t, nil
			}
			return lead(t, track)
		}})
	case "never":
	default:
		return nil, fmt.Errorf("prepend_scheme %q is not supported", scheme)
	}
	if p.Split == nil || *p.Split {
		s, err := splitStep(literal(p.Replacement), "MergedWithNext", false)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// wordPieces is Whitespace: \w+|[^\w\s]+, what is left out of the matches removed.
func wordPieces(t text, piece func(start, stop int)) error {
	kind := func(r rune) int {
		switch {
		case r < utf8.RuneSelf && (asciiLetter(byte(r)) || r >= '0' && r <= '9' || r == '_'), r >= utf8.RuneSelf &&
			unicode.Is(wordly, r):
			return 1
		case unicode.IsSpace(r):
			return 0
		}
		return 2
	}
	s, start, now := t.s, 0, 0
	for i, r := range s {
		if k := kind(r); k != now {
			if now != 0 {
				piece(start, i)
			}
			start, now = i, k
		}
	}
	if now != 0 {
		piece(start, len(s))
	}
	return nil
}

type behavior int

const (
	isolated behavior = iota + 1
	removed
	contiguous
	withPrevious
	withNext
)

// behaviors are the names of what a split does with its matches.
var behaviors = map[string]behavior{
	"Isolated": isolated, "isolated": isolated, "Removed": removed, "removed": removed, "Contiguous": contiguous,
	"contiguous":         contiguous,
	"MergedWithPrevious": withPrevious, "merged_with_previous": withPrevious, "MergedWithNext": withNext,
	"merged_with_next": withNext,
}

// splitStep cuts at what find finds.
func splitStep(find finder, name string, invert bool) (step, error) {
	how, ok := behaviors[name]
	if !ok {
		return step{}, fmt.Errorf("behavior %q is not supported", name)
	}
	return step{find: func(t text, piece func(start, stop int)) error {
		join := joiner{how: how, piece: piece}
		if err := find(t, func(i, j int, match bool) { join.add(i, j, match != invert) }); err != nil {
			return err
		}
		join.flush()
		return nil
	}}, nil
}

// joiner makes pieces of matches and gaps as they come. The open piece is the last one, which may still grow.
type joiner struct {
	how         behavior
	piece       func(start, stop int)
	open        bool
	start, stop int
	match       bool // the last one added was a match
}

func (b *joiner) add(i, j int, match bool) {
	grow := false
	switch b.how {
	case removed:
		if match {
			return
		}
	case contiguous:
		grow = match == b.match
	case withPrevious:
		grow = match && !b.match
	case withNext: // a match goes to what follows it, unless that is a match too
		grow = b.match && !match
	}
	b.match = match
	if grow && b.open {
		b.stop = j
		return
	}
	b.flush()
	b.open, b.start, b.stop = true, i, j
}

func (b *joiner) flush() {
	if b.open && b.start < b.stop {
		b.piece(b.start, b.stop)
	}
	b.open = false
}
