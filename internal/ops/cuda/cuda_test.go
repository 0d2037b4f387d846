//go:build cuda

package cuda

import (
	"testing"

	"longlora/internal/ops/optest"
	"longlora/internal/testkit/perf"
)

// Every operation against float64, on the first device.
func TestOps(t *testing.T) {
	b := open(t)
	for _, op := range optest.Ops() {
		t.Run(op, func(t *testing.T) {
			for _, r := range optest.Run(b, op, nil) {
				if !r.OK() {
					t.Error(r)
				} else if testing.Verbose() {
					t.Log(r)
				}
			}
		})
	}
}

// BenchmarkOps times every operation at the sizes of a layer of LLaMA-2 7B: see optest.
func BenchmarkOps(b *testing.B) { perf.Ops(b, open(b), optest.Layer7B) }
