//go:build cgo

package csrc

/*
#include "segments.h"
*/
import "C"

// Segment is s2attn.Spec.Segment computed by segments.h.
func Segment(mode, group, window, p, n int, shifted bool) (lo, hi int) {
	s := C.ll_segment(C.int(mode), C.int64_t(group), C.int64_t(window), C.int64_t(p), C.int64_t(n), cbool(shifted))
	return int(s.lo), int(s.hi)
}

// Wraps is s2attn.Spec.Wraps computed by segments.h.
func Wraps(mode, group, window, p, n int, shifted bool) bool {
	return C.ll_wraps(C.int(mode), C.int64_t(group), C.int64_t(window), C.int64_t(p), C.int64_t(n), cbool(shifted)) != 0
}

func cbool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}
