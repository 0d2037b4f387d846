// Package cpu is the backend that runs everywhere: the definitions of package ops made executable, on
// float32, with all cores. With cgo the inner loops are C kernels of package csrc chosen at run time by
// what the processor has; without, they are plain Go. Work is divided so that every element is computed
// by the same additions in the same order whatever the number of threads.
package cpu

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Backend implements ops.Backend. Its methods finish before they return.
type Backend struct {
	pool *pool
	err  error
}

var _ ops.Backend = (*Backend)(nil)

// New makes a backend that uses the given number of threads.
func New(threads int) *Backend { return &Backend{pool: newPool(threads)} }

// Name implements ops.Backend.
func (b *Backend) Name() string { return "cpu" }

// Act implements ops.Backend.
func (b *Backend) Act() tensor.DType { return tensor.F32 }

// Reserve implements ops.Backend. The memory comes from the kernel, not from Go's heap: it is zeroed, page
// aligned, given back at once by Free, and C may keep pointers into it.
func (b *Backend) Reserve(_ ops.Space, bytes int64, name string) (unsafe.Pointer, error) {
	if bytes == 0 {
		bytes = ops.Align
	}
	m, err := unix.MmapPtr(-1, 0, nil, uintptr(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, errs.NoFitf("%d bytes for %s: the system gave no memory: %w", bytes, name, err)
	}
	return m, nil
}

// Free implements ops.Backend.
func (b *Backend) Free(_ ops.Space, p unsafe.Pointer, bytes int64) {
	if err := unix.MunmapPtr(p, uintptr(max(bytes, ops.Align))); err != nil && b.err == nil {
		b.err = fmt.Errorf("cpu: giving memory back: %w", err)
	}
}

// Weight implements ops.Backend: the tensor is the mapping itself.
func (b *Backend) Weight(d tensor.DType, shape tensor.Shape, data []byte) (ops.Tensor, error) {
	n, ok := shape.Bytes(d)
	if !ok || n != int64(len(data)) {
		return ops.Tensor{}, fmt.Errorf("cpu: weight of shape %v %s with %d bytes", shape, d, len(data))
	}
	return ops.Tensor{P: unsafe.Pointer(unsafe.SliceData(data)), DType: d, Shape: shape}, nil
}

// Sync implements ops.Backend.
func (b *Backend) Sync() error {
	err := b.err
	b.err = nil
	return err
}
