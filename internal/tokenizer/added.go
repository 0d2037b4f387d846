package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token matched in the raw text. Field meanings are those of the tokenizers library.
type addedToken struct {
	ID         int32
	Content    string
	SingleWord bool `json:"single_word"` // only where no word character touches it
	LStrip     bool `json:"lstrip"`      // takes the white space before it
	RStrip     bool `json:"rstrip"`      // takes the white space after it
	Normalized bool `json:"normalized"`  // is matched in the normalized text
	Special    bool `json:"special"`
}

// addedTokens finds added tokens in text: the leftmost, and the longest of those that begin there.
type addedTokens struct {
	ids   map[string]int32
	first [256][]addedToken // by first byte, longest first
	any   bool
}

func newAddedTokens(list []addedToken) *addedTokens {
	a := &addedTokens{ids: map[string]int32{}}
	for _, t := range list {
		a.ids[t.Content] = t.ID
		if t.Content == "" {
			continue
		}
		b := t.Content[0]
		at := 0
		for at < len(a.first[b]) && len(a.first[b][at].Content) >= len(t.Content) {
			at++
		}
		a.first[b] = append(a.first[b][:at], append([]addedToken{t}, a.first[b][at:]...)...)
		a.any = true
	}
	return a
}

// plain reports whether a match depends on nothing but the token's own bytes and none holds white space, so
// that text may be cut before a space without changing what is matched.
func (a *addedTokens) plain() bool {
	for _, list := range a.first {
		for _, t := range list {
			if t.SingleWord || t.LStrip || t.RStrip || strings.IndexFunc(t.Content, unicode.IsSpace) >= 0 {
				return false
			}
		}
	}
	return true
}

// scan goes through text and calls token for each added token and plain for what lies between them, each with
// the bytes from start to stop that it takes up.
func (a *addedTokens) scan(text string, token func(id int32, start, stop int), plain func(start, stop int)) {
	if !a.any {
		plain(0, len(text))
		return
	}
	done := 0 // text[:done] has been handed on
	for i := 0; i < len(text); {
		t, ok := a.at(text[i:])
		if !ok {
			i++
			continue
		}
		start, stop := i, i+len(t.Content)
		i = stop
		if t.SingleWord && (endsInWord(text[:start]) || startsWithWord(text[stop:])) {
			continue
		}
		if t.LStrip {
			start = max(len(strings.TrimRightFunc(text[:start], unicode.IsSpace)), done)
		}
		if t.RStrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
		}
		if done < start {
			plain(done, start)
		}
		token(t.ID, start, stop)
		done = stop
	}
	if done < len(text) {
		plain(done, len(text))
	}
}

// at is the longest added token that text begins with.
func (a *addedTokens) at(text string) (addedToken, bool) {
	for _, t := range a.first[text[0]] {
		if strings.HasPrefix(text, t.Content) {
			return t, true
		}
	}
	return addedToken{}, false
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && wordRune(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && wordRune(r)
}

// wordRune is \w of Unicode Technical Standard 18: alphabetic, mark, decimal digit, connector, joiner.
func wordRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic) ||
		r == '\u200c' || r == '\u200d'
}
