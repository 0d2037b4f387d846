package backend

import (
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
)

// Late is the CPU as a backend that copies between device and host as late as the contract lets it, and that spoils
// what is being fetched until then: whoever does not wait reads or sends something else.
type Late struct {
	*cpu.Backend
	sent, fetched int64
	pending       map[ops.Ticket]func()
	before        map[ops.Ticket]int64 // sends that a fetch comes after
}

// NewLate makes one.
func NewLate() *Late {
	return &Late{Backend: cpu.New(2), pending: map[ops.Ticket]func(){}, before: map[ops.Ticket]int64{}}
}

// Send implements ops.Carrier.
func (b *Late) Send(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	b.sent++
	t := ops.Ticket{N: b.sent}
	b.pending[t] = func() { b.CopyRows(dst, src, c) }
	return t
}

// Fetch implements ops.Carrier.
func (b *Late) Fetch(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	b.fetched++
	t := ops.Ticket{N: b.fetched, Fetch: true}
	b.before[t] = b.sent
	size := dst.DType.Size()
	for r := range c.Rows {
		at := (c.DstOff + r*c.DstStride) * size
		for i := range dst.Raw()[at : at+c.Cols*size] {
			dst.Raw()[at+i] = 0xff // a NaN, and no index
		}
	}
	b.pending[t] = func() { b.CopyRows(dst, src, c) }
	return t
}

// Wait implements ops.Carrier.
func (b *Late) Wait(t ops.Ticket) {
	for n := int64(1); n <= t.N; n++ {
		one := ops.Ticket{N: n, Fetch: t.Fetch}
		if do, ok := b.pending[one]; ok {
			if t.Fetch {
				b.Wait(ops.Ticket{N: b.before[one]})
			}
			do()
			delete(b.pending, one)
		}
	}
}
