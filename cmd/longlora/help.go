package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"longlora/internal/ui"
)

const exitCodes = `Exit codes: 0 done, 1 internal error, 2 flags, environment or YAML, 3 does not fit the memory,
4 model, adapter, data or output files, 5 NaN or divergence, 130 interrupted with a checkpoint written.
`

// help prints what a command does, examples, and its options in groups, as wide as the terminal.
func help(c *cobra.Command, _ []string) {
	w := c.OutOrStdout()
	fmt.Fprintf(w, "%s\n\nUsage:\n  %s\n", c.Long, c.UseLine())
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", indent(c.Example))
	}
	if !c.HasParent() {
		fmt.Fprint(w, "\nCommands:\n")
		for _, s := range c.Commands() {
			if s.IsAvailableCommand() {
				fmt.Fprintf(w, "  %-11s %s\n", s.Name(), s.Short)
			}
		}
	}
	width := columns(w)
	left := 0
	for _, s := range sections(c) {
		for _, f := range s.flags {
			left = max(left, utf8.RuneCountInString(written(c.Name(), f)))
		}
	}
	for _, s := range sections(c) {
		fmt.Fprintf(w, "\n%s:\n", s.title)
		for _, f := range s.flags {
			head := written(c.Name(), f)
			for _, line := range ui.Wrap(described(f), width-left-4) {
				fmt.Fprintf(w, "  %s%s  %s\n", head, strings.Repeat(" ", left-utf8.RuneCountInString(head)), line)
				head = ""
			}
		}
	}
	if !c.HasParent() {
		fmt.Fprint(w, "\nlonglora COMMAND --help says more. Options may also stand in longlora.yaml or in variables: "+
			"LONGLORA_MAX_GRAD_NORM=1.\n")
	}
	fmt.Fprintf(w, "\n%s", exitCodes)
}

func indent(s string) string {
	return strings.ReplaceAll("  "+strings.ReplaceAll(s, "\n", "\n  "), "\n  \n", "\n\n")
}

// columns is the width to write for: the terminal's, but no less than 80 and no more than 120.
func columns(w io.Writer) int {
	if n := ui.Columns(w); n > 0 {
		return min(max(n, 80), 120)
	}
	return 120
}
