package rundir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/testkit"
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
			m, err := OpenMetrics(path, c.step)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Write(&Metrics{Step: c.step + 1}); err != nil {
				t.Fatal(err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if want := c.want + fmt.Sprintf(`{"step":%d,`, c.step+1); err != nil || !strings.HasPrefix(string(got), want) || strings.Count(string(got), "\n") != strings.Count(want, "\n")+1 {
				t.Errorf("%q %v, want %q and the rest of one line", got, err, want)
			}
		})
	}
	if _, err := OpenMetrics(t.TempDir(), 0); errs.Code(err) != 4 {
		t.Errorf("a folder in the file's place: %v", err)
	}
}
