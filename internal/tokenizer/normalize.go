package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// rewrite changes a text; track says whether the origin of its bytes is wanted.
type rewrite func(t text, track bool) (text, error)

// rewriteAll changes a text by each in turn.
func rewriteAll(t text, list []rewrite, track bool) (text, error) {
	for _, r := range list {
		var err error
		if t, err = r(t, track); err != nil {
			return t, err
		}
	}
	return t, nil
}

// normalizers reads the rewrites that a normalizer of tokenizer.json stands for.
func normalizers(raw json.RawMessage) (all []rewrite, err error) {
	parts, err := sequence(raw, "normalizers")
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		r, err := normalizer(p)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// normalizer reads one that is no Sequence.
func normalizer(raw json.RawMessage) (rewrite, error) {
	var p struct {
		Type    string  `json:"type"`
		Prepend string  `json:"prepend"`
		Pattern pattern `json:"pattern"`
		Content string  `json:"content"`
		Left    bool    `json:"strip_left"`
		Right   bool    `json:"strip_right"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	switch p.Type {
	case "NFC", "NFD", "NFKC", "NFKD":
		return normalForm(p.Type), nil
	case "Lowercase":
		return lowercase, nil
	case "Strip":
		return strip(p.Left, p.Right), nil
	case "Prepend":
		return prepend(p.Prepend), nil
	case "ByteLevel":
		return spellBytes, nil
	case "Replace":
		find, err := p.Pattern.finder()
		if err != nil {
			return nil, fmt.Errorf("in Replace: %w", err)
		}
		return replace(find, p.Content), nil
	}
	return nil, fmt.Errorf("type %q is not supported", p.Type)
}

// prepend puts s in front; it stands for the text's first character, as in the library.
func prepend(s string) rewrite {
	return func(t text, track bool) (text, error) {
		if t.s == "" || s == "" {
			return t, nil
		}
		_, n := utf8.DecodeRuneInString(t.s)
		w := newRewriter(t, track)
		w.put(s, 0, n)
		w.keep(0, len(t.s))
		return w.text()
	}
}

// replace writes content in place of each match.
func replace(find finder, content string) rewrite {
	return func(t text, track bool) (text, error) {
		var w *rewriter
		done := 0
		err := find(t, func(i, j int, match bool) {
			if !match {
				return
			}
			if w == nil {
				w = newRewriter(t, track)
			}
			w.keep(done, i)
			w.put(content, i, j)
			done = j
		})
		if w == nil || err != nil {
			return t, err
		}
		w.keep(done, len(t.s))
		return w.text()
	}
}

// strip takes white space off the ends.
func strip(left, right bool) rewrite {
	return func(t text, track bool) (text, error) {
		i, j := 0, len(t.s)
		if left {
			i = j - len(strings.TrimLeftFunc(t.s, unicode.IsSpace))
		}
		if right {
			j = max(i, len(strings.TrimRightFunc(t.s, unicode.IsSpace)))
		}
		if i == 0 && j == len(t.s) {
			return t, nil
		}
		w := newRewriter(t, track)
		w.keep(i, j)
		return w.text()
	}
}

func lowercase(t text, track bool) (text, error) {
	w := newRewriter(t, track)
	for i := 0; i < len(t.s); {
		r, n := utf8.DecodeRuneInString(t.s[i:])
		if l := lower(r); l == t.s[i:i+n] {
			w.keep(i, i+n)
		} else {
			w.put(l, i, i+n)
		}
		i += n
	}
	return w.text()
}

// spellBytes writes each byte as the character that byte-level BPE has for it.
func spellBytes(t text, track bool) (text, error) {
	w := newRewriter(t, track)
	for i := range len(t.s) {
		w.put(string(byteRunes[t.s[i]]), i, i+1)
	}
	return w.text()
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
