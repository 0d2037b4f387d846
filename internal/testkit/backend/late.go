package backend

import (
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
)

// Late is the CPU as a backend that copies between device and host as late as the contract lets it, and that spoils
// what is being fetched until then: whoever does not wait reads or sends something else.
type Late struct {
	*cpu.Backend
	begun   [ops.Ways]int64 // copies, by their way
	pending map[ops.Ticket]func()
	before  map[ops.Ticket]int64 // sends that a fetch comes after
}

// NewLate makes one.
func NewLate() *Late {
	return &Late{Backend: cpu.New(2), pending: map[ops.Ticket]func(){}, before: map[ops.Ticket]int64{}}
}

// begin has a copy wait to be done.
func (b *Late) begin(w ops.Way, dst, src ops.Tensor, c ops.Block) ops.Ticket {
	b.begun[w]++
	t := ops.Ticket{N: b.begun[w], Way: w}
	b.pending[t] = func() { b.CopyRows(dst, src, c) }
	return t
}

// Send implements ops.Carrier.
func (b *Late) Send(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	return b.begin(ops.Sent, dst, src, c)
}

// Fetch implements ops.Carrier.
func (b *Late) Fetch(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	spoil(dst, c)
	t := b.begin(ops.Fetched, dst, src, c)
	b.before[t] = b.begun[ops.Sent]
	return t
}

// Bring implements ops.Carrier.
func (b *Late) Bring(dst, src ops.Tensor, c ops.Block) ops.Ticket {
	spoil(dst, c)
	return b.begin(ops.Brought, dst, src, c)
}

// Share implements ops.Carrier.
func (b *Late) Share(dst, src ops.Tensor, c ops.Block) ops.Ticket { return b.Bring(dst, src, c) }

// spoil overwrites a block.
func spoil(dst ops.Tensor, c ops.Block) {
	size := dst.DType.Size()
	for r := range c.Rows {
		at := (c.DstOff + r*c.DstStride) * size
		for i := range dst.Raw()[at : at+c.Cols*size] {
			dst.Raw()[at+i] = 0xff // a NaN, and no index
		}
	}
}

// Wait implements ops.Carrier.
func (b *Late) Wait(t ops.Ticket) {
	for n := int64(1); n <= t.N; n++ {
		one := ops.Ticket{N: n, Way: t.Way}
		if do, ok := b.pending[one]; ok {
			b.Wait(ops.Ticket{N: b.before[one]})
			do()
			delete(b.pending, one)
		}
	}
}
