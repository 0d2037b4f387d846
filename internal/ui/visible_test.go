package ui_test

import (
	"bytes"
	"testing"

	"longlora/internal/ui"
)

// Whatever a file holds, a terminal gets letters; text in any script stays as it is, however it is cut into calls.
func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n\tß 漢 🙂\n":                    "plain\n\tß 漢 🙂\n",
		"\x1b[2Jgone\r":                       `\u001b[2Jgone\u000d`,
		"\x1b]0;title\a \x00\x7f":             `\u001b]0;title\u0007 \u0000\u007f`,
		"C1: \u009b31m":                       `C1: \u009b31m`,
		"a lone \x9b and \xff, no UTF-8":      "a lone \ufffd and \ufffd, no UTF-8",
		`{"json": "stays JSON ` + "\u0085\"}": `{"json": "stays JSON \u0085"}`,
	} {
		for _, step := range []int{1, 2, len(in)} {
			var b bytes.Buffer
			v := ui.NewVisible(&b)
			for s := []byte(in); len(s) > 0; {
				n, err := v.Write(s[:min(step, len(s))])
				if err != nil || n != min(step, len(s)) {
					t.Fatalf("%d, %v", n, err)
				}
				s = s[n:]
			}
			if b.String() != want {
				t.Errorf("%q in steps of %d comes out as %q, not %q", in, step, &b, want)
			}
		}
	}
}
