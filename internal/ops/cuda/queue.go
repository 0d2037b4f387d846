//go:build cuda

package cuda

import (
	"fmt"

	"gorgonia.org/cu"
)

// queue keeps the operations that are enqueued, and not done, to about half a second of work. Who is asked to end waits
// for them, a whole step of a million tokens would be a minute and a half, and a device has nothing of more than it can
// do before the host comes back. Work is estimated from sizes at rates below those of any card that the kernels are for
// but the smallest, so that a fast one has less ahead, and enough.
type queue struct {
	since  float64 // seconds of work enqueued since the last mark
	ahead  float64 // of all marks that were not waited for
	marks  []queueMark
	unused []cu.Event
}

// queueMark is an event behind some seconds of work.
type queueMark struct {
	event   cu.Event
	seconds float64
}

const (
	mostAhead = 0.5  // seconds
	markEvery = 0.05 // seconds
	slowFlops = 2e14 // a second
	slowBytes = 1e12 // a second
)

// spent counts work that has been enqueued, and waits where too much lies ahead. The context is current.
func (b *Backend) spent(flops, bytes float64) {
	q := &b.queue
	if q.since += max(flops/slowFlops, bytes/slowBytes); q.since < markEvery {
		return
	}
	for q.ahead > mostAhead {
		m := q.marks[0]
		b.keep("waiting for operations", m.event.Synchronize())
		q.marks, q.ahead, q.unused = q.marks[1:], q.ahead-m.seconds, append(q.unused, m.event)
	}
	m := queueMark{seconds: q.since}
	if n := len(q.unused); n > 0 {
		m.event, q.unused = q.unused[n-1], q.unused[:n-1]
	} else {
		var err error
		if m.event, err = cu.MakeEvent(cu.DisableTiming | cu.BlockingSyncEvent); err != nil {
			b.keep("making an event", err)
			return
		}
	}
	if err := m.event.Record(b.stream); err != nil {
		b.keep("recording an event", err)
		return
	}
	q.marks, q.ahead, q.since = append(q.marks, m), q.ahead+m.seconds, 0
}

// drained forgets the marks of work that is done.
func (q *queue) drained() {
	for _, m := range q.marks {
		q.unused = append(q.unused, m.event)
	}
	q.marks, q.ahead, q.since = q.marks[:0], 0, 0
}

func (q *queue) close() error {
	q.drained()
	var err error
	for i := range q.unused {
		if e := cu.DestroyEvent(&q.unused[i]); e != nil && err == nil {
			err = fmt.Errorf("giving an event back: %w", e)
		}
	}
	return err
}
