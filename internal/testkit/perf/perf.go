// Package perf times a backend's operations as a benchmark.
package perf

import (
	"testing"

	"longlora/internal/ops"
	"longlora/internal/ops/optest"
)

// Ops times every operation: GB/s or GFLOP/s, and the share of what a copy or a product gets on the same backend.
func Ops(bench *testing.B, b ops.Backend, s optest.Sizes) {
	peak, err := optest.MeasurePeak(b, s)
	if err != nil {
		bench.Fatal(err)
	}
	bench.Logf("%s: a copy moves %.1f GB/s, a product has %.0f GFLOP/s", b.Name(), peak.Bytes/1e9, peak.Flops/1e9)
	err = optest.Perf(b, s, "", func(l optest.Load) {
		bench.Run(l.Op+"/"+l.Name, func(bench *testing.B) {
			for range bench.N { // not bench.Loop, whose clock stops before Sync
				l.Call()
			}
			if err := b.Sync(); err != nil {
				bench.Fatal(err)
			}
			rate := func(amount, peak float64, unit string) {
				x := amount * float64(bench.N) / bench.Elapsed().Seconds()
				bench.ReportMetric(x/1e9, unit)
				bench.ReportMetric(100*x/peak, "%peak")
			}
			if l.Flops > 0 {
				rate(l.Flops, peak.Flops, "GFLOP/s")
			} else {
				rate(l.Bytes, peak.Bytes, "GB/s")
			}
		})
	})
	if err != nil {
		bench.Fatal(err)
	}
}
