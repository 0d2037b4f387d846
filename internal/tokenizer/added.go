package tokenizer

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"longlora/internal/tokenizer/onig"
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
	list   []addedToken // by content
	begins [257]int     // list[begins[c]:begins[c+1]] begin with the byte c
	split  bool         // a special token written in a text is no token (split_special_tokens)
}

func newAddedTokens(list []addedToken, split bool) *addedTokens {
	slices.SortStableFunc(list, func(x, y addedToken) int { return strings.Compare(x.Content, y.Content) })
	a := &addedTokens{list: list, split: split}
	for _, t := range list {
		a.begins[int(t.Content[0])+1]++
	}
	for c := range 256 {
		a.begins[c+1] += a.begins[c]
	}
	return a
}

// scan goes through a text and calls token for each added token and plain for what lies between them, each with
// the bytes from start to stop that it takes up.
func (a *addedTokens) scan(t text, token func(id int32, start, stop int) error, plain func(start,
	stop int) error) error {
	s := t.s
	done := 0             // s[:done] has been handed on
	var blank, behind int // s[blank:behind] is white space, as is known of the last token with rstrip
	for i := 0; len(a.list) > 0 && i < len(s); {
		k, err := a.at(s[i:], t.bound)
		if err != nil {
			return err
		}
		if k < 0 {
			i++
			continue
		}
		x := &a.list[k]
		start, stop := i, i+len(x.Content)
		i = stop
		if a.split && x.Special || x.SingleWord && (endsInWord(s[:start]) || startsWithWord(s[stop:])) {
			continue
		}
		if x.LStrip {
			start = done + len(strings.TrimRightFunc(s[done:max(start, done)], unicode.IsSpace))
		}
		if x.RStrip {
			if stop < blank || stop > behind {
				blank, behind = stop, len(s)-len(strings.TrimLeftFunc(s[stop:], unicode.IsSpace))
			}
			stop = behind
		}
		if start >= stop { // white space that the token before has taken already, and this one gives up
			continue
		}
		if done < start {
			if err := plain(done, start); err != nil {
				return err
			}
		}
		if err := token(x.ID, start, stop); err != nil {
			return err
		}
		done = stop
	}
	if done < len(s) {
		return plain(done, len(s))
	}
	return nil
}

// at is the longest added token that s begins with, as a place in the list, -1 for none.
func (a *addedTokens) at(s string, b *bound) (int, error) {
	lo, hi := a.begins[s[0]], a.begins[int(s[0])+1]
	found := -1
	for n := 1; lo < hi; n++ { // list[lo:hi] begin with s[:n]
		if len(a.list[lo].Content) == n {
			for found = lo; lo < hi && len(a.list[lo].Content) == n; lo++ {
			}
		}
		if lo == hi || n == len(s) {
			break
		}
		if b.steps--; b.steps < 0 {
			return 0, fmt.Errorf("the added tokens: %w", onig.ErrWork)
		}
		if c := s[n]; a.list[lo].Content[n] != c || a.list[hi-1].Content[n] != c {
			lo += sort.Search(hi-lo, func(i int) bool { return a.list[lo+i].Content[n] >= c })
			hi = lo + sort.Search(hi-lo, func(i int) bool { return a.list[lo+i].Content[n] > c })
		}
	}
	return found, nil
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && unicode.Is(wordly, r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && unicode.Is(wordly, r)
}
