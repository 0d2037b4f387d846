//go:build cgo

package proc

import "sync/atomic"

func busForget() { atomic.StoreUint32(busFlag, 0) }
