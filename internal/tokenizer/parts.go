package tokenizer

import (
	"slices"
	"strings"
	"unicode"
)

// Parts says whether a long text may be encoded part by part: cut between an ASCII letter and a space that an ASCII
// letter follows, the parts' ids one after another are the whole text's. With drop the space itself is left out, as
// the tokenizer puts one in front of every part.
func (t *Tokenizer) Parts() (drop, ok bool) {
	if t.cuts == nil || !t.raw.local() || !t.normal.local() {
		return false, false
	}
	// The cut is one that words never cross. What normalizers make of a part's ends shows on any text.
	const a, b = "one Two,  x yz", "three four. é "
	var all [4][]int32
	for i, s := range []string{a + " " + b, a, " " + b, b} {
		var err error
		if all[i], err = t.Encode(s); err != nil {
			return false, false
		}
	}
	for i, rest := range all[2:] {
		if slices.Equal(all[0], slices.Concat(all[1], rest)) {
			return i == 1, true
		}
	}
	return false, false
}

// local reports whether a match depends on nothing but the token's own bytes and whether none holds white space, so
// that text may be cut at a space without changing what is matched.
func (a *addedTokens) local() bool {
	for _, t := range a.list {
		if t.SingleWord || t.LStrip || t.RStrip || strings.IndexFunc(t.Content, unicode.IsSpace) >= 0 {
			return false
		}
	}
	return true
}
