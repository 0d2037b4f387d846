package report

import (
	"fmt"
	"strings"
	"testing"

	"longlora/internal/eval"
)

// Of missed passkeys a table shows what was written, some of many, spread evenly; one of a length at which a model finds
// nothing, where it may write anything.
func TestMissedPasskeys(t *testing.T) {
	half, none := 0.5, 0.0
	passkeys := func(ctx int, accuracy *float64, missed int) eval.Result {
		r := eval.Result{Task: "passkey", Model: "a", Ctx: ctx, Trials: 2 * missed, Accuracy: accuracy, Attn: "full"}
		for i := range missed {
			r.Missed = append(r.Missed, eval.Miss{Depth: 0.95, Trial: i, Answer: fmt.Sprint(" ", 100+i), Text: " a <key>"})
		}
		return r
	}
	rep := eval.Report{Results: []eval.Result{passkeys(2048, &half, 16), passkeys(4096, &none, 4)}}
	wants(t, written(t, Eval(rep)), "Passkeys missed, and what was written: a (8 of 20)",
		`2,048</th><td>95 %</td><td>100</td><td>a &lt;key&gt;</td>`, "<td>114</td>")
	for name, c := range map[string]struct {
		results []eval.Result
		title   string // how it ends
		rows    int
	}{
		"some of many":       {rep.Results, "a (8 of 20)", 8},
		"few":                {[]eval.Result{passkeys(2048, &half, 3)}, "a", 3},
		"none at a length":   {[]eval.Result{passkeys(2048, &half, 3), passkeys(4096, &none, 4)}, "a (4 of 7)", 4},
		"none at all":        {[]eval.Result{passkeys(2048, &none, 4), passkeys(4096, &none, 4)}, "a (2 of 8)", 2},
		"one, and not found": {[]eval.Result{passkeys(4096, &none, 1)}, "a", 1},
		"none missed":        {[]eval.Result{passkeys(8192, &half, 0)}, "", 0},
	} {
		tables := models(c.results)[0].missedTable()
		if c.rows == 0 {
			if len(tables) > 0 {
				t.Errorf("%s: nothing to show: %+v", name, tables)
			}
			continue
		}
		if len(tables) != 1 || len(tables[0].Rows) != c.rows || !strings.HasSuffix(tables[0].Title, "written: "+c.title) {
			t.Errorf("%s: %+v", name, tables)
		}
	}
}
