//go:build cuda

package load_test

import (
	"testing"

	"longlora/internal/ops"
	"longlora/internal/ops/cuda"
)

var opened []ops.Backend

// devices are the GPUs to judge: the first one, where there is one.
func devices(t *testing.T) []ops.Backend {
	t.Helper()
	found, err := cuda.Devices()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 && opened == nil {
		b, err := cuda.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		opened = append(opened, b)
	}
	return opened
}
