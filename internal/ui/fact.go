package ui

import (
	"fmt"
	"io"
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

// Wrap breaks a text into lines of at most n letters where its words allow it.
func Wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
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
