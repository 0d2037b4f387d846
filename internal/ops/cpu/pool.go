package cpu

import (
	"sync/atomic"

	"longlora/internal/par"
)

// pool runs loops over independent items on a fixed number of workers. Which worker takes which item is
// left to chance; the items themselves must not depend on it.
type pool struct {
	workers int
	stop    *uint32 // once it is not 0 items are left out; nil is never
}

func newPool(threads int) *pool { return &pool{workers: max(threads, 1)} }

func (p *pool) stopped() bool { return p.stop != nil && atomic.LoadUint32(p.stop) != 0 }

// run calls f(i, worker) for every i in [0, n); worker is in [0, workers) and no two calls with the same
// worker overlap, so it may index scratch memory.
func (p *pool) run(n int, f func(i, worker int)) {
	w := min(p.workers, n)
	if w <= 1 {
		for i := 0; i < n && !p.stopped(); i++ {
			f(i, 0)
		}
		return
	}
	var next atomic.Int64
	var group par.Group
	work := func(k int) {
		for i := int(next.Add(1)) - 1; i < n && !p.stopped(); i = int(next.Add(1)) - 1 {
			f(i, k)
		}
	}
	for k := range w - 1 {
		group.Go(func() { work(k) })
	}
	group.Do(func() { work(w - 1) }) // the caller works too, at once: the others take a while to wake
	group.Wait()
}

// blocks calls f(lo, hi, worker) for the intervals of [0, n) of the given size; the last may be shorter.
// The division depends on n and size alone, never on the number of workers.
func (p *pool) blocks(n, size int, f func(lo, hi, worker int)) {
	p.run((n+size-1)/size, func(i, worker int) {
		f(i*size, min((i+1)*size, n), worker)
	})
}

const (
	tokenBlock   = 32 // tokens of an elementwise work item
	channelBlock = 16 // channels of a work item that runs over all tokens: a cache line
)
