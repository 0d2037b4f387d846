package cpu

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/ops"
)

// files are those that shared regions lie in, in memory: other processes map the same pages by them.
var files sync.Map // of addresses to open files' numbers

// region is how a process finds another's.
type region struct {
	Process int   `json:"process"`
	File    int   `json:"file"`
	Bytes   int64 `json:"bytes"`
}

// reserveShared is Reserve of memory that other processes can map.
func reserveShared(bytes int64, name string) (unsafe.Pointer, error) {
	fd, err := unix.MemfdCreate("longlora-shared", unix.MFD_CLOEXEC)
	if err == nil {
		err = unix.Ftruncate(fd, bytes)
	}
	var p unsafe.Pointer
	if err == nil {
		p, err = unix.MmapPtr(fd, 0, nil, uintptr(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		return nil, errs.NoFitf("%d bytes for %s, which other processes read: %w", bytes, name, err)
	}
	files.Store(p, fd)
	return p, nil
}

// closeShared ends a shared region's file.
func closeShared(p unsafe.Pointer) error {
	fd, ok := files.LoadAndDelete(p)
	if !ok {
		return nil
	}
	return unix.Close(fd.(int))
}

// Export implements ops.Sharer.
func (b *Backend) Export(p unsafe.Pointer, bytes int64) ([]byte, error) {
	fd, ok := files.Load(p)
	if !ok {
		panic("cpu: a region is exported that was not reserved as shared")
	}
	return json.Marshal(region{os.Getpid(), fd.(int), max(bytes, ops.Align)})
}

// Import implements ops.Sharer.
func (b *Backend) Import(where []byte) (unsafe.Pointer, error) {
	var r region
	if err := json.Unmarshal(where, &r); err != nil {
		return nil, fmt.Errorf("cpu: memory of another process: %w", err)
	}
	path := fmt.Sprintf("/proc/%d/fd/%d", r.Process, r.File)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cpu: memory of process %d, at %s: %w", r.Process, path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	p, err := unix.MmapPtr(fd, 0, nil, uintptr(r.Bytes), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cpu: mapping memory of process %d: %w", r.Process, err)
	}
	return p, nil
}

// Unmap implements ops.Sharer.
func (b *Backend) Unmap(p unsafe.Pointer, bytes int64) error {
	return unix.MunmapPtr(p, uintptr(max(bytes, ops.Align)))
}
