package train_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/ops/optest"
	"longlora/internal/testkit"
	"longlora/internal/testkit/backend"
	"longlora/internal/train"
)

// curve trains a reference case on a backend and returns the losses and the gradients' norms of its steps.
func curve(t *testing.T, name string, be ops.Backend, steps int) (losses, norms []float64) {
	t.Helper()
	e, out := testkit.Golden(t, name), t.TempDir()
	args := goldenArgs(name, e, out, fmt.Sprint("--steps=", steps), "--lr=1e-3", "--warmup-steps=5", "--shuffle=true", "--save-every=1000")
	var log bytes.Buffer
	if _, err := train.Run(t.Context(), options(t, args...), be, &log); err != nil {
		t.Fatalf("%s: %v\n%s", be.Name(), err, log.String())
	}
	for _, m := range metrics(t, out) {
		losses, norms = append(losses, m.Loss), append(norms, m.GradNorm)
	}
	return losses, norms
}

// apart is the root of the mean square of what two curves differ by.
func apart(a, b []float64) float64 {
	s := 0.0
	for i := range a {
		s += (a[i] - b[i]) * (a[i] - b[i])
	}
	return math.Sqrt(s / float64(len(a)))
}

// A bfloat16 run follows the float32 run: over the whole curve it may be apart from it by twice what a run is whose
// every operation is done plainly in bfloat16. The loss falls by far more than that.
func TestCurves(t *testing.T) {
	const steps = 40
	for _, name := range []string{"mha-linear", "gqa-llama3"} {
		loss, norm := curve(t, name, cpu.New(2), steps)
		plainLoss, plainNorm := curve(t, name, optest.Plain(cpu.New(2)), steps)
		yardLoss, yardNorm := apart(plainLoss, loss), apart(plainNorm, norm)
		t.Logf("%s: float32 from %.4f to %.4f; plain bfloat16 apart by %.2g, norms by %.2g", name, loss[0], loss[steps-1], yardLoss, yardNorm)
		if fall := loss[0] - loss[steps-1]; !(fall > 10*yardLoss) {
			t.Errorf("%s: the loss fell by %g, bfloat16 is apart by %g: the curves say nothing", name, fall, yardLoss)
		}
		for _, be := range backend.GPU(t) {
			l, n := curve(t, name, be, steps)
			t.Logf("%s: %s apart by %.2g, norms by %.2g", name, be.Name(), apart(l, loss), apart(n, norm))
			if !(apart(l, loss) <= 2*yardLoss) || !(apart(n, norm) <= 2*yardNorm) {
				t.Errorf("%s: %s is apart from float32 by %g (norms %g), plain bfloat16 by %g (%g)", name, be.Name(), apart(l, loss), apart(n, norm), yardLoss, yardNorm)
			}
		}
	}
}
