//go:build cuda

package cuda

import (
	"testing"

	"longlora/internal/ops/optest"
)

// Every operation against float64, on the first device.
func TestOps(t *testing.T) {
	b := open(t)
	n := 0
	optest.Run(b, "", func(r optest.Result) {
		n++
		if !r.OK() {
			t.Error(r)
		} else if testing.Verbose() {
			t.Log(r)
		}
	})
	t.Logf("%d outputs judged on %s", n, b.Info().Name)
}
