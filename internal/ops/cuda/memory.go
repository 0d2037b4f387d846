//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
	"gorgonia.org/cu"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/par"
)

// The workspace is one region, taken at Open: first cuBLASLt's, then what kernels ask for, then documents.
const (
	blasBytes      = 64 << 20 // above 32 MiB, which cuBLAS itself takes on Hopper, for split sums of the low-rank products
	scratchBytes   = 64 << 20 // partial sums of norms and embeddings, attention's, rows of dropped activations
	docsBytes      = 4 << 20  // boundaries of a million documents in a tile
	workspaceBytes = blasBytes + scratchBytes + docsBytes
)

// WorkspaceBytes implements ops.Backend.
func (b *Backend) WorkspaceBytes() int64 {
	if b.eight != nil {
		return workspaceBytes + ops.RoomFP8
	}
	return workspaceBytes
}

func (b *Backend) scratch() unsafe.Pointer  { return unsafe.Add(b.work, blasBytes) }
func (b *Backend) docsRoom() unsafe.Pointer { return unsafe.Add(b.work, blasBytes+scratchBytes) }

// room gives the kernels' part of the workspace to an operation that wants n bytes of it; nil, with an error
// kept, where that is too much.
func (b *Backend) room(op string, n C.size_t, ts ...ops.Tensor) unsafe.Pointer {
	if n > scratchBytes {
		if b.err == nil {
			b.err = fmt.Errorf("%s: %s of %v: wants %d bytes of workspace, there are %d", b.Name(), op, ts[0].Shape, n,
				int64(scratchBytes))
		}
		return nil
	}
	return b.scratch()
}

// pointer is a device address as package cu has it.
func pointer(p unsafe.Pointer) cu.DevicePtr { return cu.DevicePtr(uintptr(p)) }

// address is a device address as tensors have it. It is no address of Go's, so nothing is kept alive by it.
func address(p cu.DevicePtr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

// alloc takes device memory; the context is current.
func alloc(bytes int64, name string) (unsafe.Pointer, error) {
	p, err := cu.MemAlloc(max(bytes, ops.Align))
	if err == cu.OutOfMemory {
		free, total, e := cu.MemInfo()
		if e != nil {
			return nil, e
		}
		return nil, errs.NoFitf("%d bytes of device memory for %s: %d of %d are free; lower %s, or end what else uses the "+
			"GPU", bytes, name, free, total, errs.Option("device-mem"))
	}
	if err != nil {
		return nil, fmt.Errorf("%d bytes of device memory for %s: %w", bytes, name, err)
	}
	return address(p), nil
}

// Reserve implements ops.Backend. Host memory is page-locked.
func (b *Backend) Reserve(s ops.Space, bytes int64, name string) (unsafe.Pointer, error) {
	b.enter()
	defer b.leave()
	bytes = max(bytes, ops.Align)
	if s == ops.Host {
		p, err := lock(bytes)
		if err != nil {
			return nil, errs.NoFitf("%s: %d bytes of page-locked host memory for %s: %v; lower %s", b.Name(), bytes, name, err,
				errs.Option("host-mem"))
		}
		return p, nil
	}
	if s == ops.Shared {
		bytes = (bytes + sharedUnit - 1) / sharedUnit * sharedUnit
	}
	p, err := alloc(bytes, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	if err := cu.MemsetD8Async(pointer(p), 0, bytes, b.stream); err != nil {
		return nil, fmt.Errorf("%s: clearing %d bytes for %s: %w", b.Name(), bytes, name, join(err, cu.MemFree(pointer(p))))
	}
	return p, nil
}

// lock takes page-locked host memory. The driver would take a hundred GiB page by page; large pages that several
// threads have touched before are a matter of seconds, and the system counts them with the process.
func lock(bytes int64) (unsafe.Pointer, error) {
	m, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE) // without them it only takes longer
	populate(m)
	p := unsafe.Pointer(unsafe.SliceData(m))
	if st := C.ll_host_lock(p, C.size_t(len(m))); st != 0 {
		return nil, join(fmt.Errorf("%s", C.GoString(C.ll_status(st))), unix.Munmap(m))
	}
	return p, nil
}

// populate has the system give the memory, which is zero then.
func populate(m []byte) {
	const page = 4096
	var group par.Group
	piece := max(len(m)/runtime.GOMAXPROCS(0), 1<<21)
	for len(m) > 0 {
		n := min(piece, len(m))
		part := m[:n]
		m = m[n:]
		group.Go(func() {
			for i := 0; i < len(part); i += page {
				part[i] = 0
			}
		})
	}
	group.Wait()
}

// Free implements ops.Backend. It waits for the device.
func (b *Backend) Free(s ops.Space, p unsafe.Pointer, bytes int64) {
	b.enter()
	defer b.leave()
	b.keep("waiting for the device", b.settle())
	if s == ops.Host {
		if st := C.ll_host_unlock(p); st != 0 {
			b.keep("giving host memory back", fmt.Errorf("%s", C.GoString(C.ll_status(st))))
		}
		b.keep("giving host memory back", unix.Munmap(unsafe.Slice((*byte)(p), max(bytes, ops.Align))))
		return
	}
	b.keep("giving memory back", cu.MemFree(pointer(p)))
}
