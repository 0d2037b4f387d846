package report

import (
	"fmt"
	"testing"

	"longlora/internal/eval"
)

// Of missed passkeys a table shows what was written, some of many, spread evenly; none of a length at which a model finds
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
	page := written(t, Eval(rep))
	wants(t, page, "Passkeys missed, and what was written: a (8 of 16)", `2,048</th><td>95 %</td><td>100</td><td>a &lt;key&gt;</td>`,
		"<td>114</td>")
	for _, j := range models(rep.Results) {
		if tables := j.missedTable(); len(tables) != 1 || len(tables[0].Rows) != mostMissed {
			t.Errorf("%+v", tables)
		}
	}
	for _, j := range models([]eval.Result{passkeys(4096, &none, 4), passkeys(8192, &half, 0)}) {
		if tables := j.missedTable(); len(tables) > 0 {
			t.Errorf("nothing to show: %+v", tables)
		}
	}
}
