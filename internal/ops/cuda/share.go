//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"fmt"
	"unsafe"

	"longlora/internal/ops"
)

// sharedUnit is what shared regions are rounded up to, so that none is a part of memory that others use.
const sharedUnit = 2 << 20

var _ ops.Sharer = (*Backend)(nil)

// CanRead reports whether a device can read another's memory; itself it can.
func CanRead(index, other int) bool {
	var yes C.int
	return index == other || C.ll_can_read(C.int(index), C.int(other), &yes) == 0 && yes != 0
}

// Export implements ops.Sharer.
func (b *Backend) Export(p unsafe.Pointer, _ int64) ([]byte, error) {
	b.enter()
	defer b.leave()
	where := make([]byte, C.LL_EXPORTED)
	st := C.ll_export(p, (*C.char)(unsafe.Pointer(&where[0])))
	return where, b.shared("giving other processes memory to read", st)
}

// Import implements ops.Sharer.
func (b *Backend) Import(where []byte) (p unsafe.Pointer, err error) {
	b.enter()
	defer b.leave()
	if len(where) != C.LL_EXPORTED {
		return nil, fmt.Errorf("%s: another process's memory is known by %d bytes", b.Name(), len(where))
	}
	st := C.ll_import((*C.char)(unsafe.Pointer(&where[0])), &p)
	return p, b.shared("mapping another card's memory", st)
}

// Unmap implements ops.Sharer.
func (b *Backend) Unmap(p unsafe.Pointer, _ int64) error {
	b.enter()
	defer b.leave()
	return b.shared("ending the mapping of another card's memory", C.ll_unimport(p))
}

func (b *Backend) shared(what string, status C.int) error {
	if status == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s: %s", b.Name(), what, C.GoString(C.ll_status(status)))
}

// Share implements ops.Carrier.
func (b *Backend) Share(dst, src ops.Tensor, c ops.Block) ops.Ticket { return b.Bring(dst, src, c) }
