//go:build cuda

package cuda

import "longlora/internal/ops"

// GELUForward implements ops.GELU.
func (b *Backend) GELUForward(_, _, _ ops.Tensor, _ bool) { b.keep("GELU", unmade) }

// GELUBackward implements ops.GELU.
func (b *Backend) GELUBackward(_, _, _, _, _ ops.Tensor, _ bool) { b.keep("GELU's gradient", unmade) }
