//go:build !cuda

package cuda

import (
	"longlora/internal/errs"
	"longlora/internal/ops"
)

// Built reports whether this binary has the CUDA backend.
const Built = false

// Backend is the CUDA backend, which this build does not have.
type Backend struct{ ops.Backend }

// Devices lists the GPUs that the driver gives; none, without an error, where there is no driver.
func Devices() ([]Info, error) { return nil, nil }

// Open takes the device's primary context.
func Open(int) (*Backend, error) {
	return nil, errs.Usagef("%s cuda: this build has no CUDA; build it with 'make cuda'", errs.Option("device"))
}

// NCCL is the library by which cards add up, which this build does not use.
type NCCL struct{}

// OpenNCCL opens the library.
func OpenNCCL() (*NCCL, error) {
	return nil, errs.Usagef("this build has no CUDA; build it with 'make cuda'")
}

// File is what the library was loaded from, and its version.
func (n *NCCL) File() (file string, version int) { return "", 0 }

// ID is what a new group is known by.
func (n *NCCL) ID() ([]byte, error) { return nil, nil }

// Join makes a device one of a group.
func (n *NCCL) Join(*Backend, []byte, int, int, int, func() error) error { return nil }

// ChainIDs are what a new chain is known by.
func (n *NCCL) ChainIDs() ([]byte, error) { return nil, nil }

// Chain makes a device one of a chain.
func (n *NCCL) Chain([]byte, int, int, int, func() error) error { return nil }

// Sum adds up.
func (n *NCCL) Sum(ops.Tensor) {}

// Abort ends what was begun.
func (n *NCCL) Abort() {}

// Close gives everything back.
func (n *NCCL) Close() {}

// CanRead reports whether a device can read another's memory.
func CanRead(int, int) bool { return false }

// Info describes the device.
func (b *Backend) Info() Info { return Info{} }

// BLAS is the file that cuBLASLt was loaded from, and its version.
func (b *Backend) BLAS() (file string, version int) { return "", 0 }

// ContextBytes is the device memory that the context, the kernels' code and the libraries took before any
// arena, measured at Open.
func (b *Backend) ContextBytes() int64 { return 0 }

// Used is the device memory in use now, in bytes, as the driver counts it.
func (b *Backend) Used() (int64, error) { return 0, nil }

// Close waits for the device and gives everything back.
func (b *Backend) Close() error { return nil }

// MultiplyFP8 says whether weights in FP8 are multiplied in FP8.
func (b *Backend) MultiplyFP8(bool) error { return nil }

// ReserveWeights takes one region for frozen tensors of n bytes in all, each rounded up to ops.Align.
func (b *Backend) ReserveWeights(int64) error { return nil }

// FreeWeights gives the memory of all frozen tensors back.
func (b *Backend) FreeWeights() error { return nil }
