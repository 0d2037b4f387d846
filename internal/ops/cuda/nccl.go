//go:build cuda

package cuda

// #include <stdlib.h>
// #include "longlora.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"gorgonia.org/cu"

	"longlora/internal/ops"
)

// NCCL is the library by which the cards of several processes add up, and this process's end of their group. Sums
// enqueue on the backend's stream. It is package dist's Device, and of a chain its ops.Link.
type NCCL struct {
	b    *Backend // nil before it has joined
	n    *C.ll_nccl
	file string

	rank, size int             // in a chain
	hops       [ops.Sides]*hop // by the side that they go to; nil without a chain

	aborted atomic.Bool
}

// OpenNCCL opens the library. An error says where it was looked for.
func OpenNCCL() (*NCCL, error) {
	// Sums in the switches of NVLink add up in an order of their own.
	if os.Getenv("NCCL_NVLS_ENABLE") == "" {
		_ = os.Setenv("NCCL_NVLS_ENABLE", "0")
	}
	n := &NCCL{}
	var err error
	n.file, err = nccl.open(func(path string) error {
		p := C.CString(path)
		defer C.free(unsafe.Pointer(p))
		var msg [512]C.char
		if C.ll_nccl_open(&n.n, p, &msg[0], C.size_t(len(msg))) != 0 {
			return errors.New(C.GoString(&msg[0]))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// File is what the library was loaded from, and its version: 23007 is 2.30.7.
func (n *NCCL) File() (file string, version int) { return n.file, int(C.ll_nccl_version(n.n)) }

// ID is what a new group is known by.
func (n *NCCL) ID() ([]byte, error) {
	id := make([]byte, C.LL_NCCL_ID)
	r := C.ll_nccl_id(n.n, (*C.char)(unsafe.Pointer(&id[0])))
	return id, n.fault("beginning a group", r)
}

func (n *NCCL) fault(what string, r C.int) error {
	if r == 0 {
		return nil
	}
	return fmt.Errorf("NCCL (%s): %s: %s; %s. NCCL_DEBUG=WARN has it say more", n.file, what,
		C.GoString(C.ll_nccl_text(n.n, r)),
		C.GoString(C.ll_nccl_last(n.n)))
}

// Join makes the backend's device rank of a group of size ranks, once all have called it. card says how many of them
// are on this device, and all waits until all ranks have come to it: what NCCL takes of the device counts as the
// context's.
func (n *NCCL) Join(b *Backend, id []byte, rank, size, card int, all func() error) error {
	b.enter()
	defer b.leave()
	if len(id) != C.LL_NCCL_ID {
		return fmt.Errorf("NCCL: a group's id has %d bytes", len(id))
	}
	if err := all(); err != nil {
		return err
	}
	before, _, err := cu.MemInfo()
	if err != nil {
		return fmt.Errorf("asking for free memory: %w", err)
	}
	if err := n.fault("joining the group", C.ll_nccl_join(n.n, (*C.char)(unsafe.Pointer(&id[0])), C.int(rank),
		C.int(size))); err != nil {
		return err
	}
	n.b = b
	// what is taken when something is first done: on the room of cuBLASLt, which keeps nothing there
	room := ops.Tensor{P: b.work, Shape: []int{blasBytes / 4}}
	for _, t := range []ops.Tensor{room.Rows(0, 256), room} {
		b.keep("clearing", cu.MemsetD32Async(pointer(t.P), 0, int64(t.Elems()), b.stream))
		n.Sum(t)
	}
	return b.taken(before, card, all)
}

// taken counts what was taken of the device since so many bytes were free, by so many ranks, as the context's.
func (b *Backend) taken(before int64, card int, all func() error) error {
	if err := b.Sync(); err != nil {
		return err
	}
	if err := all(); err != nil {
		return err
	}
	after, _, err := cu.MemInfo()
	if err != nil {
		return fmt.Errorf("asking for free memory: %w", err)
	}
	b.context += max(0, before-after) / int64(max(1, card))
	return nil
}

// hop is one direction of a chain: a group of its own, whose transfers go on a stream of their own.
type hop struct {
	n *C.ll_nccl
	side
}

// ChainIDs are what a new chain's two directions are known by.
func (n *NCCL) ChainIDs() ([]byte, error) {
	a, err := n.ID()
	if err != nil {
		return nil, err
	}
	b, err := n.ID()
	return append(a, b...), err
}

// Chain makes the device rank of a chain of size ranks, once all have called it after Join, as which it counts what is
// taken. From then on the group is an ops.Link.
func (n *NCCL) Chain(ids []byte, rank, size, card int, all func() error) error {
	b := n.b
	b.enter()
	defer b.leave()
	if len(ids) != 2*C.LL_NCCL_ID {
		return fmt.Errorf("NCCL: a chain's ids have %d bytes", len(ids))
	}
	n.rank, n.size = rank, size
	b.crowded(true)
	before, _, err := cu.MemInfo()
	if err != nil {
		return fmt.Errorf("asking for free memory: %w", err)
	}
	for i := range n.hops {
		h := &hop{n: C.ll_nccl_another(n.n)}
		n.hops[i] = h
		if err := h.open(); err != nil {
			return err
		}
		if err := n.fault("joining a chain", C.ll_nccl_join(h.n, (*C.char)(unsafe.Pointer(&ids[i*C.LL_NCCL_ID])),
			C.int(rank), C.int(size))); err != nil {
			return err
		}
	}
	room := ops.Tensor{P: b.work, Shape: []int{blasBytes / 4}} // as in Join
	for _, to := range []ops.Side{ops.After, ops.Before} {
		if n.has(1 - to) {
			n.Wait(n.Take(1-to, room.Rows(0, 256)))
		}
		if n.has(to) {
			n.Wait(n.Give(to, room.Rows(0, 256)))
		}
	}
	return b.taken(before, card, all)
}

// has reports whether there is a rank on a side.
func (n *NCCL) has(s ops.Side) bool {
	return s == ops.Before && n.rank > 0 || s == ops.After && n.rank+1 < n.size
}

// Place implements ops.Link.
func (n *NCCL) Place() (rank, size int) { return n.rank, n.size }

// Give implements ops.Link.
func (n *NCCL) Give(to ops.Side, t ops.Tensor) ops.Passage {
	h := n.hops[to]
	return ops.Passage{Side: to, N: n.pass(h, func() C.int {
		return C.ll_nccl_give(h.n, streamOf(h.stream), t.P, C.int64_t(t.Bytes()), C.int(n.beside(to)))
	})}
}

// Take implements ops.Link.
func (n *NCCL) Take(from ops.Side, t ops.Tensor) ops.Passage {
	h := n.hops[1-from]
	return ops.Passage{Side: from, Taken: true, N: n.pass(h, func() C.int {
		return C.ll_nccl_take(h.n, streamOf(h.stream), t.P, C.int64_t(t.Bytes()), C.int(n.beside(from)))
	})}
}

// beside is the rank on a side.
func (n *NCCL) beside(s ops.Side) int {
	if s == ops.Before {
		return n.rank - 1
	}
	return n.rank + 1
}

// pass enqueues a transfer, after all operations so far, and returns its number in its direction.
func (n *NCCL) pass(h *hop, f func() C.int) int64 {
	b := n.b
	b.enter()
	defer b.leave()
	err := h.ready.Record(b.stream)
	if err == nil {
		err = h.stream.Wait(h.ready, 0)
	}
	b.keep("waiting to pass a halo", err)
	n.enqueue("a halo", f)
	h.side.n++
	b.keep("a halo", h.mark(h.side.n).Record(h.stream))
	return h.side.n
}

// Wait implements ops.Link.
func (n *NCCL) Wait(p ops.Passage) {
	if p.N == 0 {
		return
	}
	h := n.hops[p.Side]
	if p.Taken {
		h = n.hops[1-p.Side]
	}
	n.b.enter()
	defer n.b.leave()
	n.b.keep("waiting for a halo", n.b.stream.Wait(h.mark(p.N), 0))
}

// Sum implements dist.Device.
func (n *NCCL) Sum(t ops.Tensor) {
	n.enqueue("the sum", func() C.int {
		return C.ll_nccl_sum(n.n, n.b.s(), (*C.float)(t.P), C.int64_t(t.Elems()))
	})
}

// enqueue has NCCL enqueue something, unless the group is aborted.
func (n *NCCL) enqueue(what string, f func() C.int) {
	if n.aborted.Load() {
		n.b.keep(what, errors.New("the group is broken"))
		return
	}
	n.b.enter()
	defer n.b.leave()
	n.b.keep(what, n.fault("enqueuing", f()))
}

// Abort implements dist.Device. All communicators are aborted at the same time: NCCL waits for the device in doing so,
// where another one's operation may stand and wait for a rank that is gone.
func (n *NCCL) Abort() {
	if !n.aborted.CompareAndSwap(false, true) {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { C.ll_nccl_abort(n.n) })
	for _, h := range n.hops {
		if h != nil {
			all.Go(func() { C.ll_nccl_abort(h.n) })
		}
	}
	all.Wait()
}

// Close gives everything back. Nothing may be enqueued any more.
func (n *NCCL) Close() {
	aborted := C.int(0)
	if !n.aborted.CompareAndSwap(false, true) {
		aborted = 1
	}
	for _, h := range n.hops {
		if h != nil {
			n.b.keep("closing a chain", h.close())
			C.ll_nccl_close(h.n, aborted)
		}
	}
	C.ll_nccl_close(n.n, aborted)
}
