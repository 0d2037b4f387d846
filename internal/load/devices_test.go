//go:build !cuda

package load_test

import (
	"testing"

	"longlora/internal/ops"
)

// devices are the GPUs to judge; this build has none.
func devices(*testing.T) []ops.Backend { return nil }
