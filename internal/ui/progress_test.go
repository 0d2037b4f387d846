package ui

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// A drawn line says first how much is done, then as much besides as there is room for, and never reaches beyond it.
func TestDrawn(t *testing.T) {
	const detail = "loss 1.2345  9876 tok/s"
	for _, c := range []struct {
		width, done int
		want        string
	}{
		{12, 20, "train 20/320"},
		{20, 20, "train 20/320   6 %"},
		{50, 20, "train 20/320   6 %  " + detail},
		{60, 20, "train 20/320   6 %  " + detail + "  2m05s left"},
		{70, 20, "train 20/320   6 %  " + detail + "  8s so far, 2m05s left"},
		{79, 160, "train 160/320  50 % │████     │  " + detail + "  8s so far, 2m05s left"},
		{200, 320, "train 320/320 100 % │" + strings.Repeat("█", mostBar) + "│  " + detail + "  took 8s"},
		{200, 319, "train 319/320  99 % │" + strings.Repeat("█", mostBar-1) + " │  " + detail + "  8s so far, 2m05s left"},
	} {
		got := drawn(c.width, "train", c.done, 320, detail, "8s", "2m05s")
		if got != c.want || utf8.RuneCountInString(got) > c.width {
			t.Errorf("%d wide:\n%q, want\n%q", c.width, got, c.want)
		}
	}
	if got := drawn(40, "reading", 0, 5, "", "0s", ""); got != "reading 0/5   0 % │"+strings.Repeat(" ", 9)+"│  0s so far" {
		t.Errorf("%q", got)
	}
}

// Lines are as long as they may be, and a word that is longer stays whole.
func TestWrap(t *testing.T) {
	for n, want := range map[int]string{100: "one two éééé five", 12: "one two éééé|five", 11: "one two|éééé five", 1: "one|two|éééé|five"} {
		if got := strings.Join(Wrap(" one two  éééé five", n), "|"); got != want {
			t.Errorf("%d wide: %s, want %s", n, got, want)
		}
	}
}

// Where there is no terminal a fact is one line.
func TestFact(t *testing.T) {
	var b strings.Builder
	long := strings.Repeat("word ", 50) + "end"
	Fact(&b, "memory", "%s", long)
	if b.String() != "memory      "+long+"\n" {
		t.Errorf("%q", b.String())
	}
}
