// Package cuda is the backend for NVIDIA GPUs: package ops on bfloat16 activations and weights with float32
// sums, by our own kernels (csrc/cuda behind its longlora.h) and cuBLASLt. It is built with -tags cuda; in
// any other build Open says so. The driver and cuBLASLt are opened when a device is, so the binary starts
// on machines that have neither.
package cuda

import "longlora/internal/ops"

var _ ops.Card = (*Backend)(nil)

// Chip implements ops.Card.
func (b *Backend) Chip() ops.Chip {
	i := b.Info()
	return ops.Chip{Name: i.Name, Total: i.Total, Free: i.Free}
}

// Info describes one device.
type Info struct {
	Index        int
	Name         string
	UUID         string // its own name in the world
	Major, Minor int    // compute capability
	SMs          int    // multiprocessors
	Total, Free  int64  // bytes of device memory; Free as the driver gives it now, other processes counted
	Driver       int    // CUDA version that the driver supports, 13000 for 13.0
}
