//go:build cuda

package cuda

// #include "longlora.h"
import "C"

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"gorgonia.org/cu"

	"longlora/internal/ops"
	"longlora/internal/par"
)

const (
	slotBytes = 4 << 20
	slots     = 8 // as many threads fill slots of a long transfer while the copies before it run
)

// ring is page-locked memory that transfers go through: a caller's bytes are copied into a free slot, from which
// the device fetches them in its own time. A slot is free again once its event has passed.
type ring struct {
	p    unsafe.Pointer
	free chan slot
	all  []slot
}

type slot struct {
	buf  []byte
	done cu.Event
}

// newRing takes the memory; the context is current.
func newRing() (*ring, error) {
	r := &ring{free: make(chan slot, slots)}
	if st := C.ll_host_alloc(&r.p, slots*slotBytes); st != 0 {
		return nil, fmt.Errorf("%d bytes of page-locked host memory for transfers: %s", slots*slotBytes,
			C.GoString(C.ll_status(st)))
	}
	for i := range slots {
		done, err := cu.MakeEvent(cu.DisableTiming)
		if err != nil {
			return r, fmt.Errorf("making an event: %w", err)
		}
		s := slot{unsafe.Slice((*byte)(unsafe.Add(r.p, i*slotBytes)), slotBytes), done}
		r.all = append(r.all, s)
		r.free <- s
	}
	return r, nil
}

func (r *ring) close() error {
	var err error
	for i := range r.all {
		err = join(err, cu.DestroyEvent(&r.all[i].done))
	}
	if st := C.ll_host_free(r.p); st != 0 {
		err = join(err, fmt.Errorf("giving host memory back: %s", C.GoString(C.ll_status(st))))
	}
	return err
}

// send writes n bytes to the device at dst: fill makes bytes [lo, hi) of them. Pieces of a long transfer are
// made by several threads. It returns when fill is done; the device's part is only enqueued.
func (b *Backend) send(dst unsafe.Pointer, n int64, fill func(to []byte, lo, hi int64)) error {
	piece := func(lo int64) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cu.SetCurrentContext(b.ctx); err != nil {
			return err
		}
		hi := min(lo+slotBytes, n)
		s := <-b.ring.free
		defer func() { b.ring.free <- s }()
		if err := s.done.Synchronize(); err != nil {
			return err
		}
		fill(s.buf[:hi-lo], lo, hi)
		if err := cu.MemcpyHtoDAsync(pointer(unsafe.Add(dst, lo)), unsafe.Pointer(&s.buf[0]), hi-lo, b.stream); err != nil {
			return err
		}
		return s.done.Record(b.stream)
	}
	if n <= slotBytes {
		if n == 0 {
			return nil
		}
		return piece(0)
	}
	var group par.Group
	var mu sync.Mutex
	var first error
	var next atomic.Int64
	for range slots {
		group.Go(func() {
			for lo := next.Add(slotBytes) - slotBytes; lo < n; lo = next.Add(slotBytes) - slotBytes {
				if err := piece(lo); err != nil {
					mu.Lock()
					first = join(first, err)
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return first
}

// Upload implements ops.Transfer.
func (b *Backend) Upload(dst ops.Tensor, src []byte) {
	if int64(len(src)) != dst.Bytes() {
		panic(fmt.Sprintf("cuda: upload of %d bytes into %d", len(src), dst.Bytes()))
	}
	err := b.send(dst.P, int64(len(src)), func(to []byte, lo, hi int64) { copy(to, src[lo:hi]) })
	b.keep(fmt.Sprintf("upload of %v %s", dst.Shape, dst.DType), err)
}

// Download implements ops.Transfer. Two slots take turns: while one is read the device writes the other.
func (b *Backend) Download(dst []byte, src ops.Tensor) error {
	if int64(len(dst)) != src.Bytes() {
		panic(fmt.Sprintf("cuda: download of %d bytes into %d", src.Bytes(), len(dst)))
	}
	b.enter()
	defer b.leave()
	if err := b.Sync(); err != nil {
		return err
	}
	type part struct {
		slot
		lo, hi int
	}
	var flying []part
	land := func() error {
		p := flying[0]
		flying = flying[1:]
		err := p.done.Synchronize()
		if err == nil {
			copy(dst[p.lo:p.hi], p.buf)
		}
		b.ring.free <- p.slot
		return err
	}
	var first error
	for lo := 0; lo < len(dst) && first == nil; lo += slotBytes {
		if len(flying) == 2 {
			first = join(first, land())
		}
		s, hi := <-b.ring.free, min(lo+slotBytes, len(dst))
		err := cu.MemcpyDtoHAsync(unsafe.Pointer(&s.buf[0]), pointer(unsafe.Add(src.P, lo)), int64(hi-lo), b.stream)
		if err == nil {
			err = s.done.Record(b.stream)
		}
		first = join(first, err)
		flying = append(flying, part{s, lo, hi})
	}
	for len(flying) > 0 {
		first = join(first, land())
	}
	if first != nil {
		return fmt.Errorf("%s: download of %v %s: %w", b.Name(), src.Shape, src.DType, first)
	}
	return nil
}
