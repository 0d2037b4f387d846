package s2attn

import (
	"fmt"
	"strings"
	"testing"

	"longlora/internal/testkit/table"
)

// What the arithmetic gives, to be read: the segments of a document, and under a window the first token that each sees.
func TestSegmentTable(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		spec   Spec
		tokens []int
	}{
		{Spec{Mode: Split, Group: 8}, []int{32, 20, 17, 8, 5, 3, 1}},
		{Spec{Mode: Split, Group: 7}, []int{28, 20}},
		{Spec{Mode: Split, Group: 2}, []int{7}},
		{Spec{Mode: Split, Group: 64}, []int{40, 20}},
		{Spec{Mode: Roll, Group: 8}, []int{32, 8}},
		{Spec{Mode: Full}, []int{20}},
		{Windowed(4), []int{10}},
		{Windowed(1), []int{4}},
		{Windowed(64), []int{10}},
	} {
		for _, n := range c.tokens {
			fmt.Fprintf(&b, "%s, %d tokens\n", describe(c.spec), n)
			for _, shifted := range []bool{false, true} {
				fmt.Fprintf(&b, "%9s  %s\n", map[bool]string{false: "plain", true: "shifted"}[shifted], drawn(c.spec, n, shifted))
			}
		}
	}
	table.Hold(t, "segments.txt", b.String())
}

func describe(s Spec) string {
	switch {
	case s.Window > 0:
		return fmt.Sprintf("window of %d", s.Window)
	case s.Mode == Full:
		return "full"
	}
	return fmt.Sprintf("%s in groups of %d", s.Mode, s.Group)
}

// drawn lists segments, or the first token that each token sees where it differs by token.
func drawn(s Spec, n int, shifted bool) string {
	var out []string
	last := ""
	for p := range n {
		lo, hi := s.Segment(p, n, shifted)
		text := fmt.Sprintf("%d-%d", lo, hi)
		switch {
		case s.Window > 0:
			text = fmt.Sprintf("%d<%d", lo, p)
		case s.Wraps(p, n, shifted):
			text = "wraps round"
		}
		if text != last {
			out, last = append(out, text), text
		}
	}
	return strings.Join(out, " ")
}
