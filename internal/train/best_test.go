package train

import (
	"math"
	"testing"

	"longlora/internal/rundir"
)

// The best is the least loss that counts, and what has passed since it is counted in validations, not in steps.
func TestBestOf(t *testing.T) {
	line := func(step int, loss ...float64) rundir.Metrics {
		m := rundir.Metrics{Step: step}
		if len(loss) > 0 {
			m.EvalLoss = &loss[0]
		}
		if len(loss) > 1 { // both ways of attending: the full one counts
			m.EvalLoss, m.EvalSparse, m.EvalFull = nil, &loss[0], &loss[1]
		}
		return m
	}
	for _, c := range []struct {
		lines       []rundir.Metrics
		step, since int
	}{
		{nil, 0, 0},
		{[]rundir.Metrics{line(1), line(2)}, 0, 0},
		{[]rundir.Metrics{line(1), line(2, 3), line(3), line(4, 2), line(5), line(6, 2), line(8, 2.5)}, 4, 2},
		{[]rundir.Metrics{line(1, 1, 5), line(2, 2, 4), line(3, 0, 6)}, 2, 1},
	} {
		b := bestOf(c.lines)
		if b.step != c.step || b.since != c.since || (b.step == 0) != math.IsNaN(b.loss) {
			t.Errorf("%v: %+v, want step %d, %d since", c.lines, b, c.step, c.since)
		}
	}
}
