package report

import (
	"fmt"
	"strings"

	"longlora/internal/eval"
)

// mostMissed are the rows of a table of missed passkeys: they show what a model tends to write, and no more.
const mostMissed = 8

// missedTable tells, of some of the passkeys that a model missed, what it wrote instead. Of a length at which it finds
// none it says one: there it does not read at all, and may write anything.
func (j *judged) missedTable() []Table {
	t := Table{Head: []string{"tokens", "depth", "asked for", "written"}, Text: true}
	all := 0
	for _, a := range j.recall["passkey"] {
		ms := j.missed[a.ctx]
		all += len(ms)
		if a.v == 0 {
			ms = ms[:min(1, len(ms))]
		}
		for _, m := range ms {
			t.Rows = append(t.Rows, []string{thousands(int64(a.ctx)), trim(fmt.Sprintf("%.1f", 100*m.Depth)) + " %",
				strings.TrimSpace(m.Answer), strings.TrimSpace(m.Text)})
		}
	}
	if all == 0 {
		return nil
	}
	if n := len(t.Rows); n > mostMissed {
		for i := range mostMissed { // evenly spread
			t.Rows[i] = t.Rows[i*n/mostMissed]
		}
		t.Rows = t.Rows[:mostMissed]
	}
	t.Title = "Passkeys missed, and what was written: " + j.name
	if n := len(t.Rows); n < all {
		t.Title += fmt.Sprintf(" (%d of %d)", n, all)
	}
	return []Table{t}
}

func (j *judged) addMissed(ctx int, ms []eval.Miss) {
	if j.missed == nil {
		j.missed = map[int][]eval.Miss{}
	}
	j.missed[ctx] = ms
}
