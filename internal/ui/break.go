package ui

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Breaking passes text on. On a terminal it breaks lines of notes, warnings and errors between words, where the
// terminal would break them anywhere; a command in them gets a line of its own, whole, so that it can be copied.
type Breaking struct{ w io.Writer }

// NewBreaking stands before w.
func NewBreaking(w io.Writer) *Breaking { return &Breaking{w} }

// Write writes all of p, in which lines are whole, or says why not.
func (b *Breaking) Write(p []byte) (int, error) {
	text := string(p)
	if n := Columns(b.w); n >= 2*indent {
		text = broken(text, n)
	}
	if _, err := io.WriteString(b.w, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Unwrap is what stands behind.
func (b *Breaking) Unwrap() io.Writer { return b.w }

// sentences begin lines that are broken; others are laid out already.
var sentences = []string{"note: ", "warning: ", "longlora: "}

// command is one of this program's that a message ends with, or goes on after in another sentence.
var command = regexp.MustCompile(`: (longlora [a-z]+ .*?)(\.?$|\. [A-Z].*$)`)

// broken is a text whose lines of sentences have at most n letters where words allow it.
func broken(text string, n int) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if utf8.RuneCountInString(line) <= n || !slices.ContainsFunc(sentences, func(s string) bool {
			return strings.HasPrefix(line, s)
		}) {
			continue
		}
		if at := command.FindStringSubmatchIndex(line); at != nil {
			parts := append(Wrap(line[:at[0]+1], n), "  "+line[at[2]:at[3]])
			if rest := strings.TrimLeft(line[at[4]:at[5]], ". "); rest != "" {
				parts = append(parts, Wrap(rest, n)...)
			}
			lines[i] = strings.Join(parts, "\n")
		} else {
			lines[i] = strings.Join(Wrap(line, n), "\n")
		}
	}
	return strings.Join(lines, "\n")
}
