package tokenizer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token matched in the raw text. Field meanings are those of the tokenizers library.
type addedToken struct {
	ID         int32 // in a file: what it says, or -1
	Content    string
	SingleWord bool   `json:"single_word"` // only where no word character touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it
	RStrip     bool   `json:"rstrip"`      // takes the white space after it
	Normalized bool   `json:"normalized"`  // is matched in the normalized text
	Special    bool   `json:"special"`
	file       string // that adds it
}

// like says whether two tokens are the same but for their ids.
func (a addedToken) like(b addedToken) bool {
	b.ID, b.file = a.ID, a.file
	return a == b
}

// addedTokens finds added tokens in text: the leftmost, and the longest of those that begin there.
type addedTokens struct {
	begins [256]bool               // some token begins with that byte
	by     map[string][]addedToken // by the first two bytes, or the only one, longest first
}

func newAddedTokens(list []addedToken) *addedTokens {
	a := &addedTokens{by: map[string][]addedToken{}}
	for _, t := range list {
		key := t.Content[:min(2, len(t.Content))]
		a.begins[key[0]] = true
		a.by[key] = append(a.by[key], t)
	}
	for _, l := range a.by {
		slices.SortFunc(l, func(x, y addedToken) int { return len(y.Content) - len(x.Content) })
	}
	return a
}

// scan goes through text and calls token for each added token and plain for what lies between them, each with
// the bytes from start to stop that it takes up.
func (a *addedTokens) scan(text string, token func(id int32, start, stop int) error, plain func(start, stop int) error) error {
	if len(a.by) == 0 {
		if text == "" {
			return nil
		}
		return plain(0, len(text))
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
			if err := plain(done, start); err != nil {
				return err
			}
		}
		if err := token(t.ID, start, stop); err != nil {
			return err
		}
		done = stop
	}
	if done < len(text) {
		return plain(done, len(text))
	}
	return nil
}

// at is the longest added token that text begins with.
func (a *addedTokens) at(text string) (addedToken, bool) {
	if !a.begins[text[0]] {
		return addedToken{}, false
	}
	for n := min(2, len(text)); n > 0; n-- {
		for _, t := range a.by[text[:n]] {
			if strings.HasPrefix(text, t.Content) {
				return t, true
			}
		}
	}
	return addedToken{}, false
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && unicode.Is(wordly, r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && unicode.Is(wordly, r)
}
