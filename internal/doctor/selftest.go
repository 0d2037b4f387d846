package doctor

import (
	"context"
	"math"
	"time"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/ops/optest"
)

// SelfTest is the verdict on one device's operations against float64.
type SelfTest struct {
	Device   string   `json:"device"`
	Kernels  string   `json:"kernels"`
	Outputs  int      `json:"outputs"`  // judged
	Worst    float64  `json:"worst"`    // largest finite error as a fraction of its limit
	WorstOf  string   `json:"worst_of"` // which output that is
	Seconds  float64  `json:"seconds"`
	Failures []string `json:"failures"`
}

// operations are all that are judged; a test of what is made of the verdicts has fewer.
var operations = optest.Ops

// selfTest judges the operations of a backend; an interrupt is looked at between two of them.
func selfTest(ctx context.Context, b ops.Backend, kernels string) (SelfTest, error) {
	t := SelfTest{Device: b.Name(), Kernels: kernels, Failures: []string{}}
	start := time.Now()
	for _, op := range operations() {
		if ctx.Err() != nil {
			return t, errs.Interruptedf("interrupted")
		}
		for _, r := range optest.Run(b, op, nil) {
			t.Outputs++
			if !r.OK() {
				t.Failures = append(t.Failures, r.String())
			}
			if w := r.Error / r.Limit; w > t.Worst && !math.IsInf(w, 0) { // NaN and Inf are failures, and no JSON
				t.Worst, t.WorstOf = w, r.String()
			}
		}
	}
	t.Seconds = time.Since(start).Seconds()
	return t, nil
}
