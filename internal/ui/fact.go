package ui

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// Columns is the width of the terminal behind w; 0 where there is none.
func Columns(w io.Writer) int {
	if f, ok := Terminal(w); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return n
		}
	}
	return 0
}

// quoted is a passage in quotes, as Go writes one.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// words are a text's words, for lines of n letters. A short passage in quotes is part of one, with its blanks: what
// begins or ends with one is shown so.
func words(text string, n int) []string {
	const held = "\x00"
	words := strings.Fields(quoted.ReplaceAllStringFunc(text, func(q string) string {
		if utf8.RuneCountInString(q) > n/2 {
			return q
		}
		return strings.ReplaceAll(q, " ", held)
	}))
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, held, " ")
	}
	return words
}

// Wrap breaks a text into lines of at most n letters where its words allow it.
func Wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range words(text, n) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= n:
			line += " " + word
		default:
			lines, line = append(lines, line), word
		}
	}
	return append(lines, line)
}

// indent is where the text of a fact begins.
const indent = 12

// Fact writes a line with what it is about at its head, in one call. On a terminal what is too long for it goes on
// below.
func Fact(w io.Writer, what, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	if n := Columns(w); n >= 2*indent {
		text = strings.Join(Wrap(text, n-indent), "\n"+strings.Repeat(" ", indent))
	}
	fmt.Fprintf(w, "%-*s %s\n", indent-1, what, text)
}

// Say writes a sentence in a line, or in as many as a terminal needs for it to break between words.
func Say(w io.Writer, format string, a ...any) {
	text := fmt.Sprintf(format, a...)
	if n := Columns(w); n >= 2*indent {
		text = strings.Join(Wrap(text, n), "\n")
	}
	fmt.Fprintln(w, text)
}
