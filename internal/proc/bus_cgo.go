//go:build cgo

package proc

// #include "bus.h"
import "C"

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// maxMaps is how many ranges can be watched at a time.
const maxMaps = C.LL_MAPS

// busInstall makes a watched range that cannot be read zeros.
func busInstall() error {
	if e := C.ll_bus_install(); e != 0 {
		return syscall.Errno(e)
	}
	return nil
}

// busWatch watches a range under a number, or none where b is empty.
func busWatch(number int, b []byte) {
	C.ll_bus_watch(C.int(number), unsafe.Pointer(unsafe.SliceData(b)), C.size_t(len(b)))
}

var busFlag = (*uint32)(C.ll_bus_broken())

// busBroken is 0, or one more than the number of the range that broke last.
func busBroken() uint32 { return atomic.LoadUint32(busFlag) }
