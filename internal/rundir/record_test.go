package rundir

import "testing"

// A result has the mean loss of the last tenth of the steps, of the last one where there are fewer than ten, and the last
// validation.
func TestSum(t *testing.T) {
	for _, c := range []struct {
		steps int
		mean  float64
	}{{1, 1}, {9, 9}, {10, 10}, {19, 19}, {20, 19.5}, {39, 38}, {40, 38.5}} {
		var lines []Metrics
		for s := 1; s <= c.steps; s++ {
			m := Metrics{Step: s, Loss: float64(s)}
			if v := float64(-s); s%4 == 1 {
				m.EvalFull = &v
			}
			lines = append(lines, m)
		}
		var r Result
		r.Sum(lines)
		if last := -(c.steps - (c.steps-1)%4); r.LossMean != c.mean || *r.EvalFull != float64(last) || r.EvalLoss != nil || r.EvalSparse != nil {
			t.Errorf("%d steps: mean %v, validated %v; want %v and %d", c.steps, r.LossMean, *r.EvalFull, c.mean, last)
		}
	}
	var r Result
	if r.Sum(nil); r.LossMean != 0 || r.Any() {
		t.Errorf("of no lines: %+v", r)
	}
}
