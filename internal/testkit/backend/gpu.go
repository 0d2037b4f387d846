// Package backend gives tests backends: the GPU where this build and this machine have one, and one that copies late.
package backend

import (
	"sync"
	"testing"

	"longlora/internal/ops"
	"longlora/internal/ops/cuda"
)

// open takes the first GPU once a process, and keeps it until the process ends; nil where there is none.
var open = sync.OnceValues(func() (ops.Card, error) {
	found, err := cuda.Devices()
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return cuda.Open(0)
})

// GPU is a list of the first GPU, empty where there is none.
func GPU(t testing.TB) []ops.Backend {
	t.Helper()
	b, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		return nil
	}
	return []ops.Backend{b}
}
