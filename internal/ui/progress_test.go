package ui

import (
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// What stands beside a bar is as much as there is room for, and never more.
func TestDescribed(t *testing.T) {
	const detail = "loss 1.2345  9876 tok/s"
	for n, want := range map[int]string{
		3:  "tra",
		20: "train  loss 1.2345",
		30: "train  loss 1.2345  2m05s left",
		42: "train  " + detail + "  2m05s left",
		90: "train  " + detail + "  8s so far, 2m05s left",
	} {
		if got := described(n, "train", detail, "8s so far", "2m05s"); got != want || utf8.RuneCountInString(got) > n {
			t.Errorf("%d wide:\n%q, want\n%q", n, got, want)
		}
	}
	if got := described(40, "reading", "", "took 2s", ""); got != "reading  took 2s" {
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

// A table that is too wide is written in several, each with the first column; nothing is left out.
func TestTables(t *testing.T) {
	rows := [][]string{{"tokens", "h100", "h200"}, {"8192", "3.5s", "no"}, {""}}
	for room, want := range map[int]string{
		0:  "tokens  h100  h200\n8192    3.5s    no\n\n",
		18: "tokens  h100  h200\n8192    3.5s    no\n\n",
		17: "tokens  h100\n8192    3.5s\n\n\ntokens  h200\n8192      no\n\n",
		3:  "tokens  h100\n8192    3.5s\n\n\ntokens  h200\n8192      no\n\n",
	} {
		var b strings.Builder
		if tables(&b, room, 1, rows); b.String() != want {
			t.Errorf("%d wide:\n%s, want\n%s", room, b.String(), want)
		}
	}
	var b strings.Builder
	keyed := [][]string{{"model", "ctx", "ppl", "positions"}, {"a", "128", "5.1", "yarn"}, {"a", "256", "5.2", "yarn"}}
	want := "model  ctx  ppl\na      128  5.1\na      256  5.2\n\nmodel  ctx  positions\na      128       yarn\na      256       yarn\n"
	if tables(&b, 22, 2, keyed); b.String() != want {
		t.Errorf("%s, want\n%s", b.String(), want)
	}
	b.Reset()
	if tables(&b, 2, 1, nil); b.String() != "" {
		t.Errorf("%q", b.String())
	}
	if tables(&b, 2, 3, [][]string{{"alone"}}); b.String() != "alone\n" {
		t.Errorf("%q", b.String())
	}
}

// A terminal that says no width has room for a line, of what came of the work too.
func TestUnknownWidth(t *testing.T) {
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if n := (&Progress{term: none}).columns(); n != 80 {
		t.Errorf("%d columns", n)
	}
}
