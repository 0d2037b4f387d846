//go:build cuda

package cuda

import (
	"fmt"

	"gorgonia.org/cu"

	"longlora/internal/ops"
)

// marks is how many copies of a direction have an event of their own. The event of an older copy is a later copy's by
// now: a wait for the older one then waits for the later one, which is rare, and longer than needed but never shorter.
const marks = 256

// side is a stream on which copies of one direction run beside the operations.
type side struct {
	stream cu.Stream
	ready  cu.Event // all that was enqueued before the copy
	done   []cu.Event
	n      int64 // copies so far
}

// open makes the stream and its events; the context is current.
func (s *side) open() (err error) {
	if s.stream, err = cu.MakeStream(cu.NonBlocking); err != nil {
		return fmt.Errorf("making a stream for copies: %w", err)
	}
	if s.ready, err = cu.MakeEvent(cu.DisableTiming); err != nil {
		return fmt.Errorf("making an event: %w", err)
	}
	for range marks {
		e, err := cu.MakeEvent(cu.DisableTiming)
		if err != nil {
			return fmt.Errorf("making an event: %w", err)
		}
		s.done = append(s.done, e)
	}
	return nil
}

func (s *side) close() error {
	var err error
	if s.ready != (cu.Event{}) {
		err = cu.DestroyEvent(&s.ready)
	}
	for i := range s.done {
		err = join(err, cu.DestroyEvent(&s.done[i]))
	}
	if s.stream != (cu.Stream{}) {
		err = join(err, s.stream.Destroy())
	}
	return err
}

// mark is the event of copy n.
func (s *side) mark(n int64) cu.Event { return s.done[n%marks] }

// after makes later copies wait for copy n of another direction.
func (s *side) after(other *side, n int64) error {
	if n == 0 {
		return nil
	}
	return s.stream.Wait(other.mark(n), 0)
}

// carry enqueues a copy on a side stream; first is what it waits for besides the operations.
func (b *Backend) carry(s *side, what string, dst, src ops.Tensor, c ops.Block, first func() error) int64 {
	if dst.DType != src.DType {
		panic("cuda: " + what + " of " + src.DType.String() + " to " + dst.DType.String())
	}
	b.enter()
	defer b.leave()
	err := s.ready.Record(b.stream)
	if err == nil {
		err = s.stream.Wait(s.ready, 0)
	}
	if err == nil {
		err = first()
	}
	b.keep(fmt.Sprintf("%s of %v %s: waiting", what, src.Shape, src.DType), err)
	b.copy(what, streamOf(s.stream), dst, src, c)
	s.n++
	b.keep(what, s.mark(s.n).Record(s.stream))
	return s.n
}

// Send implements ops.Carrier.
func (b *Backend) Send(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	return ops.Ticket{N: b.carry(&b.sends, "copy to host memory", dst, src, c, func() error { return nil })}
}

// Fetch implements ops.Carrier.
func (b *Backend) Fetch(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	n := b.carry(&b.fetches, "copy from host memory", dst, src, c, func() error {
		return b.fetches.after(&b.sends, b.sends.n)
	})
	return ops.Ticket{N: n, Way: ops.Fetched}
}

// Bring implements ops.Carrier.
func (b *Backend) Bring(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	n := b.carry(&b.brings, "copy of weights from host memory", dst, src, c, func() error { return nil })
	return ops.Ticket{N: n, Way: ops.Brought}
}

// Wait implements ops.Carrier.
func (b *Backend) Wait(t ops.Ticket) {
	if t.N == 0 {
		return
	}
	s := b.sides()[t.Way]
	b.enter()
	defer b.leave()
	b.keep("waiting for a copy", b.stream.Wait(s.mark(t.N), 0))
}

// sides are the streams of copies, by their way.
func (b *Backend) sides() [ops.Ways]*side {
	return [ops.Ways]*side{ops.Sent: &b.sends, ops.Fetched: &b.fetches, ops.Brought: &b.brings}
}

// settle waits for all streams.
func (b *Backend) settle() error {
	b.queue.drained()
	err := b.stream.Synchronize()
	for _, s := range b.sides() {
		err = join(err, s.stream.Synchronize())
	}
	return err
}
