package ui_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/ui"
)

// Resuming cuts metrics back to the checkpoint's step; what a kill tore off goes too, and so does what follows it.
func TestMetricsAreCutBack(t *testing.T) {
	one, two, three := `{"step":1,"loss":3}`+"\n", `{"step":2,"loss":2}`+"\n", `{"step":3,"loss":1}`+"\n"
	for _, c := range []struct {
		name, have, want string
		step             int
	}{
		{"no file", "", "", 0},
		{"all kept", one + two, one + two, 2},
		{"beyond the step", one + two + three, one, 1},
		{"afresh", one + two, "", 0},
		{"a torn line", one + `{"step":2,"lo`, one, 2},
		{"a whole line without its end", one + strings.TrimSuffix(two, "\n"), one, 2},
		{"zeros after a crash", one + "\x00\x00\x00\n" + two, one, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "metrics.jsonl")
			if c.have != "" {
				testkit.Write(t, path, c.have)
			}
			m, err := ui.OpenMetrics(path, c.step)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Write(map[string]int{"step": c.step + 1}); err != nil {
				t.Fatal(err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if want := c.want + `{"step":` + string(rune('1'+c.step)) + "}\n"; err != nil || string(got) != want {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		})
	}
	if _, err := ui.OpenMetrics(t.TempDir(), 0); errs.Code(err) != 4 {
		t.Errorf("a folder in the file's place: %v", err)
	}
}

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
	if len(lines) > 3 || !strings.HasPrefix(first, "train 41/100  loss 1.0  ") || last != "train 100/100  loss 1.0  0s left" {
		t.Errorf("%q", lines)
	}
	if strings.ContainsAny(b.String(), "\r\x1b") {
		t.Error("terminal codes in plain lines")
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[float64]string{0: "0s", 59.4: "59s", 59.6: "1m00s", 184: "3m04s", 3599.6: "1h00m", 3720: "1h02m"} {
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
	if want := `loading 1/1  model.\u001b[2J\u000d\u000alayer\u009b  0s left` + "\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}
