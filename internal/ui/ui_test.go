package ui_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"longlora/internal/ui"
)

// Where there is no terminal, progress is lines: the first, at most one a second, and the last.
func TestProgressLines(t *testing.T) {
	var b bytes.Buffer
	p := ui.NewProgress(&b, "train", 100, 40)
	for range 60 {
		p.Step("loss 1.0")
	}
	p.Done()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	first, last := lines[0], lines[len(lines)-1]
	if len(lines) > 3 || !strings.HasPrefix(first, "train 41/100  loss 1.0  ") || !strings.HasPrefix(last, "train 100/100  loss 1.0  took ") {
		t.Errorf("%q", lines)
	}
	if strings.ContainsAny(b.String(), "\r\x1b") {
		t.Error("terminal codes in plain lines")
	}
}

// The last line is written once, however often the end is said; what is said besides stands in a line of its own.
func TestProgressEnds(t *testing.T) {
	var b bytes.Buffer
	p := ui.NewProgress(&b, "loading", 10, 0)
	for range 300 {
		p.At(10, "a tensor that is read again")
	}
	p.Say("validation  step %d: loss %.2f", 7, 2.5)
	want := regexp.MustCompile(`^loading 10/10  a tensor that is read again  took \S+( 1ms)?\nvalidation  step 7: loss 2.50\n$`)
	if !want.MatchString(b.String()) {
		t.Errorf("%q, want %s", b.String(), want)
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[float64]string{0: "0s", 1e-5: "under 1ms", 0.0351: "35ms", 0.99: "990ms", 0.9999: "1s", 5: "5s", 5.25: "5.2s", 59.4: "59.4s", 59.96: "1m00s",
		3600 * 50: "2d02h", 184: "3m04s", 3599.6: "1h00m", 3720: "1h02m"} {
		if got := ui.Duration(s); got != want {
			t.Errorf("%v: %s, want %s", s, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	ui.Table(&b, [][]string{{"tokens", "a", "recall"}, {"256", "1.25", "9 %"}, {"1024", "é", ""}})
	if want := "tokens     a  recall\n256     1.25     9 %\n1024       é\n"; b.String() != want {
		t.Errorf("\n%q\nwant\n%q", b.String(), want)
	}
}

// What a progress line says of a file's content stays in its line and moves no cursor.
func TestProgressDetail(t *testing.T) {
	var b bytes.Buffer
	p := ui.NewProgress(&b, "loading", 1, 0)
	p.Step("model.\x1b[2J\r\nlayer\u009b")
	if want := `loading 1/1  model.\u001b[2J\u000d\u000alayer\u009b  took `; !strings.HasPrefix(b.String(), want) {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestSeveral(t *testing.T) {
	for n, want := range map[string]string{"0": "0 windows", "1": "1 window", "21": "21 windows"} {
		if got := ui.Several(n, "window"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := ui.Count(int64(1), "row"); got != "1 row" {
		t.Errorf("%q", got)
	}
}
