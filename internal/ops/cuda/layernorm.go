//go:build cuda

package cuda

import (
	"errors"

	"longlora/internal/ops"
)

// unmade is the error of an operation that has no kernel yet. Models that want one are refused before: see package
// load.
var unmade = errors.New("no kernel computes it")

// LayerNormForward implements ops.LayerNorm.
func (b *Backend) LayerNormForward(_, _, _, _, _ ops.Tensor, _ float32) { b.keep("LayerNorm", unmade) }

// LayerNormBackward implements ops.LayerNorm.
func (b *Backend) LayerNormBackward(_, _, _, _, _, _, _ ops.Tensor) {
	b.keep("LayerNorm's gradient", unmade)
}
