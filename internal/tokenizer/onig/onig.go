// Package onig matches the regular expressions by which tokenizers split text: those of Oniguruma in Ruby's syntax,
// which the Hugging Face tokenizers library compiles, over Unicode 16.
//
// An expression finds what it finds there, character for character; one that this package does not have (back
// references, most of what (?i: ) may hold, repeated groups that can match nothing) is an error that names it.
//
// Work and memory are bounded, so that no expression of a file can take the machine: what an attempt has learnt about
// a place in the text is remembered once the attempt takes long, which makes nested repetitions linear, and what still
// takes too many steps or too much memory is ErrWork. The bound counts steps, not seconds: the same text gives the same
// result on any machine.
package onig

import (
	"errors"
	"unicode/utf8"
)

// ErrWork says that an expression takes too long on a text.
var ErrWork = errors.New("it takes too many steps on a text")

// Regexp is a compiled expression. Many goroutines may use it at once.
type Regexp struct {
	prog   []inst
	starts *set // what a match begins with; nil: anything, or nothing
	splits int  // choices in prog, numbered
	loops  int  // loops in prog, numbered
}

// Compile reads an expression.
func Compile(expr string) (*Regexp, error) {
	p := parser{in: []rune(expr)}
	n, err := p.parse()
	if err != nil {
		return nil, err
	}
	return compile(n)
}

// Steps is how many steps a text of n bytes may take.
func Steps(n int) int { return stepsFrom + stepsPerByte*n }

// Find goes through s and yields each match, leftmost first, as the bytes from i to j. A match of nothing counts but
// for one just behind a match. It stops when yield returns false, and with ErrWork once it has taken the steps that are
// left, of which it takes off its own: the parts of one text share them.
func (re *Regexp) Find(s string, left *int, yield func(i, j int) bool) error {
	m := matcher{re: re, s: s, left: *left}
	defer func() { *left = max(m.left, 0) }()
	at, last := 0, -1 // where to go on, and where the last match ended
	for at <= len(s) {
		i, j, err := m.search(at)
		if err != nil || i < 0 {
			return err
		}
		if i == j && j == last {
			_, n := utf8.DecodeRuneInString(s[at:])
			at += max(n, 1)
			continue
		}
		if !yield(i, j) {
			return nil
		}
		at, last = j, j
	}
	return nil
}
