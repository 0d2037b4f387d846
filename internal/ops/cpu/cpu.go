// Package cpu is the backend that runs everywhere: the definitions of package ops made executable, on
// float32, with all cores. With cgo the inner loops are C kernels of package csrc/cpu chosen at run time by
// what the processor has; without, they are plain Go. Work is divided so that every element is computed
// by the same additions in the same order whatever the number of threads.
package cpu

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	kernels "longlora/csrc/cpu"
	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Backend implements ops.Backend. Its methods finish before they return.
type Backend struct {
	pool *pool
	set  kernels.Set
	work []scratch // one a worker
	err  error
	word *uint32 // what operations look at while Heed lasts, in memory that C may keep
}

var (
	_ ops.Backend = (*Backend)(nil)
	_ ops.Heeder  = (*Backend)(nil)
	_ ops.Sharer  = (*Backend)(nil)
)

// New makes a backend that uses the given number of threads and the widest instruction set there is.
// LONGLORA_CPU=plain|avx2|avx512 asks for a narrower one, for comparing them.
func New(threads int) *Backend { return NewSet(threads, bestSet()) }

// NewSet makes a backend with a given instruction set.
func NewSet(threads int, set kernels.Set) *Backend {
	p := newPool(threads)
	return &Backend{pool: p, set: set, work: make([]scratch, p.workers)}
}

func bestSet() kernels.Set {
	best := kernels.Best()
	for s := kernels.Plain; s < best; s++ {
		if s.String() == os.Getenv("LONGLORA_CPU") {
			return s
		}
	}
	return best
}

// Threads is the number of workers.
func (b *Backend) Threads() int { return b.pool.workers }

// Set names the instruction set in use.
func (b *Backend) Set() string { return b.set.String() }

// scratch is one worker's memory for packing. It grows to what the largest call wants and stays.
type scratch struct {
	p     unsafe.Pointer
	bytes int64
}

// maxHead is the head size that the counted workspace has room for; a larger one makes it grow.
const maxHead = 256

func (b *Backend) workFloats(head int) int { return max(b.set.GemmWork(), b.set.AttnWork(head)) }

// WorkspaceBytes implements ops.Backend.
func (b *Backend) WorkspaceBytes() int64 {
	return int64(b.pool.workers) * int64(kernels.TermBytes+4*b.workFloats(maxHead))
}

// scratch gives a worker at least n floats after the terms of a product.
func (b *Backend) scratch(worker, n int) unsafe.Pointer {
	w := &b.work[worker]
	if need := int64(kernels.TermBytes + 4*max(n, b.workFloats(maxHead))); w.bytes < need {
		p, err := b.Reserve(ops.Device, need, "packing")
		if err != nil {
			panic(err) // a few MiB that the plan has counted; without them nothing can run
		}
		if w.p != nil {
			b.Free(ops.Device, w.p, w.bytes)
		}
		*w = scratch{p, need}
	}
	return w.p
}

// Name implements ops.Backend.
func (b *Backend) Name() string { return "cpu" }

// Act implements ops.Backend.
func (b *Backend) Act() tensor.DType { return tensor.F32 }

// Reserve implements ops.Backend. The memory comes from the kernel, not from Go's heap: it is zeroed, page
// aligned, given back at once by Free, and C may keep pointers into it.
func (b *Backend) Reserve(s ops.Space, bytes int64, name string) (unsafe.Pointer, error) {
	if bytes == 0 {
		bytes = ops.Align
	}
	if s == ops.Shared {
		return reserveShared(bytes, name)
	}
	m, err := unix.MmapPtr(-1, 0, nil, uintptr(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, errs.NoFitf("%d bytes for %s: the system gave no memory: %w", bytes, name, err)
	}
	return m, nil
}

// Free implements ops.Backend.
func (b *Backend) Free(s ops.Space, p unsafe.Pointer, bytes int64) {
	err := unix.MunmapPtr(p, uintptr(max(bytes, ops.Align)))
	if s == ops.Shared && err == nil {
		err = closeShared(p)
	}
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("cpu: giving memory back: %w", err)
	}
}

// Weight implements ops.Backend: the tensor is the mapping itself.
func (b *Backend) Weight(s tensor.Stored) (ops.Weight, error) {
	if err := s.Check(); err != nil {
		return ops.Weight{}, fmt.Errorf("cpu: %w", err)
	}
	return ops.Addressed(s), nil
}

// Heed implements ops.Heeder.
func (b *Backend) Heed(ctx context.Context) (done func()) {
	if b.word == nil {
		p, err := b.Reserve(ops.Device, 4, "a word")
		if err != nil {
			return func() {} // then operations are done to their end
		}
		b.word = (*uint32)(p)
	}
	set := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		atomic.StoreUint32(b.word, 1)
		close(set)
	})
	b.pool.stop = b.word
	return func() {
		if !end() {
			<-set
		}
		atomic.StoreUint32(b.word, 0)
		b.pool.stop = nil
	}
}

// Sync implements ops.Backend.
func (b *Backend) Sync() error {
	err := b.err
	b.err = nil
	return err
}
