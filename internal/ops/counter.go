package ops

import (
	"slices"
	"unsafe"

	"longlora/internal/tensor"
)

// Counter is a backend that executes nothing. It adds up what a step costs, so that running the step's own
// code against it and against counting arenas gives the plan. Copies beside the operations run against a clock
// of their own in each direction, and what operations wait for them is counted.
type Counter struct {
	act     tensor.DType
	work    int64 // the workspace of the backend it stands for
	rates   Rates
	Cost    Cost
	Weights int64 // bytes of frozen weights, each tensor rounded up to Align

	done [Ways][]float64 // when each copy is done, in seconds of the clock that now reads
	past [Ways]int64     // copies before the clocks were last set to zero, which are done
}

// Cost is what operations amount to.
type Cost struct {
	Linear    float64 // floating-point operations of the linear layers, two a multiply-add
	Head      float64 // of the output head
	Attention float64 // of attention, counted up where it is slower than by the rate: see Attn.slower
	Figure    float64 // of all three as figures of speed count them: as if W were frozen, low-rank terms left out
	Bytes     float64 // read and written by everything else
	Moved     float64 // bytes copied between device and host while operations wait
	Calls     float64 // operations
	Sent      float64 // bytes copied to host memory beside the operations
	Fetched   float64 // bytes copied from there
	Brought   float64 // bytes of weights copied from there
	Shared    float64 // bytes of weights copied from other cards
	Stalled   float64 // seconds, at the counter's rates, that operations wait for those copies
}

// Rates are how fast a machine is.
type Rates struct {
	Linear    float64 // operations a second in products
	FP8       float64 `json:",omitempty"` // in those that are in FP8; 0: weights in FP8 are made wide before
	Attention float64 // operations a second in attention
	Bytes     float64 // bytes a second in everything else
	Moved     float64 // bytes a second between device and host, in one direction while the other is busy too
	Link      float64 `json:",omitempty"` // bytes a second from other cards of the machine to one; 0: as from the host
	Call      float64 // seconds that starting an operation takes
}

// OfLink is the rate between cards.
func (r Rates) OfLink() float64 {
	if r.Link > 0 {
		return r.Link
	}
	return r.Moved
}

// Seconds is the time that c takes.
func (r Rates) Seconds(c Cost) float64 {
	return (c.Linear+c.Head)/r.Linear + c.Attention/r.Attention + c.Bytes/r.Bytes + c.Moved/r.Moved + c.Calls*r.Call +
		c.Stalled
}

var _ Backend = (*Counter)(nil)

// NewCounter makes a counter for a backend with this activation type and workspace, on a machine of these rates.
func NewCounter(act tensor.DType, workspace int64, r Rates) *Counter {
	return &Counter{act: act, work: workspace, rates: r}
}

// Name implements Backend.
func (c *Counter) Name() string { return "count" }

// Act implements Backend.
func (c *Counter) Act() tensor.DType { return c.act }

// Reserve implements Backend; a counting arena never calls it.
func (c *Counter) Reserve(Space, int64, string) (unsafe.Pointer, error) { return nil, nil }

// Free implements Backend.
func (c *Counter) Free(Space, unsafe.Pointer, int64) {}

// Weight implements Backend. Beside a device the copy there counts.
func (c *Counter) Weight(s tensor.Stored) (Weight, error) {
	w := Weight{Shape: s.Shape, Format: Held(s.Format, c.act)}
	c.Weights += Room(w.Format, w.Shape)
	return w, nil
}

// WorkspaceBytes implements Backend.
func (c *Counter) WorkspaceBytes() int64 { return c.work }

// Sync implements Backend.
func (c *Counter) Sync() error { return nil }

// Upload implements Transfer.
func (c *Counter) Upload(dst Tensor, _ []byte) { c.move(dst) }

// Download implements Transfer.
func (c *Counter) Download(dst []byte, src Tensor) error { c.move(src); return nil }

// Zero implements Transfer.
func (c *Counter) Zero(dst Tensor) { c.touch(dst) }

// Convert implements Transfer.
func (c *Counter) Convert(dst, src Tensor) { c.touch(dst, src) }

// CopyRows implements Transfer.
func (c *Counter) CopyRows(dst, _ Tensor, b Block) {
	c.Cost.Bytes += 2 * b.bytes(dst)
	c.Cost.Calls++
}

// AddRows implements Transfer.
func (c *Counter) AddRows(dst, _ Tensor, b Block) {
	c.Cost.Bytes += 3 * b.bytes(dst)
	c.Cost.Calls++
}

func (b Block) bytes(t Tensor) float64 {
	return float64(b.Rows) * float64(b.Cols) * float64(t.DType.Size())
}

// Send implements Carrier.
func (c *Counter) Send(dst, _ Tensor, b Block) Ticket {
	c.Cost.Sent += b.bytes(dst)
	return c.carry(Sent, b.bytes(dst)/c.rates.Moved, last(c.done[Sent]))
}

// Fetch implements Carrier.
func (c *Counter) Fetch(dst, _ Tensor, b Block) Ticket {
	c.Cost.Fetched += b.bytes(dst)
	return c.carry(Fetched, b.bytes(dst)/c.rates.Moved, max(last(c.done[Sent]), c.inward()))
}

// Bring implements Carrier.
func (c *Counter) Bring(dst, _ Tensor, b Block) Ticket {
	c.Cost.Brought += b.bytes(dst)
	return c.carry(Brought, b.bytes(dst)/c.rates.Moved, c.inward())
}

// Share implements Carrier.
func (c *Counter) Share(dst, _ Tensor, b Block) Ticket {
	c.Cost.Shared += b.bytes(dst)
	return c.carry(Brought, b.bytes(dst)/c.rates.OfLink(), last(c.done[Brought]))
}

// inward is when the last copy to the device is done: fetches and what is brought share the way, here one after the
// other.
func (c *Counter) inward() float64 { return max(last(c.done[Fetched]), last(c.done[Brought])) }

// carry counts a copy of so many seconds that begins now, but not before the time given.
func (c *Counter) carry(w Way, seconds, after float64) Ticket {
	c.done[w] = append(c.done[w], max(c.rates.Seconds(c.Cost), after)+seconds)
	return Ticket{N: c.past[w] + int64(len(c.done[w])), Way: w}
}

// Wait implements Carrier.
func (c *Counter) Wait(t Ticket) {
	if n := t.N - c.past[t.Way]; n > 0 {
		c.Cost.Stalled += max(0, c.done[t.Way][n-1]-c.rates.Seconds(c.Cost))
	}
}

// Restart sets the cost to nothing and the clocks to zero, and returns what the cost was. Copies under way are done
// then.
func (c *Counter) Restart() Cost {
	was := c.Cost
	for w := range c.done {
		c.past[w] += int64(len(c.done[w]))
	}
	c.Cost, c.done = Cost{}, [Ways][]float64{}
	return was
}

// last is when the last of a way's copies is done.
func last(done []float64) float64 {
	if len(done) == 0 {
		return 0
	}
	return done[len(done)-1]
}

// LinearForward implements Linears.
func (c *Counter) LinearForward(x, _ Tensor, p []Proj) {
	narrow := false
	for _, q := range p {
		narrow = narrow || c.inFP8(q.L)
		c.product(q.L, x.Dim(0), 1, 1, 0)
	}
	if narrow { // x is read, and written in 8 bits, once
		c.Cost.Bytes += 1.5 * float64(x.Bytes())
	}
}

// inFP8 reports whether a layer's matrix is multiplied in FP8.
func (c *Counter) inFP8(l *Linear) bool {
	return l.W.Format.Code == tensor.FP8 && c.act != tensor.F32 && c.rates.FP8 > 0
}

// LinearBackward implements Linears.
func (c *Counter) LinearBackward(dx, _, _ Tensor, p []ProjGrad) {
	for _, q := range p {
		base, figure := 1.0, 1.0
		if dx.None() {
			base, figure = 0, 0
		}
		if !q.L.DW.None() {
			base++
		}
		c.product(q.L, q.DY.Dim(0), base, figure, 1)
		if !q.L.DBias.None() {
			c.touch(q.DY)
		}
	}
}

// product counts base products with W, figure of them in figures of speed, and the low-rank terms, three times as many
// on the way back.
func (c *Counter) product(l *Linear, t int, base, figure, back float64) {
	out, in := float64(l.W.Dim(0)), float64(l.W.Dim(1))
	work := 2 * base * float64(t) * out * in
	switch {
	case c.act == tensor.F32 || l.W.Format.Dense() || base == 0:
	case l.W.Format.Code == tensor.NF4: // half a byte is read, two are written wide
		c.Cost.Bytes += 2.5 * out * in
	case !c.inFP8(l): // W is read, written wide
		c.Cost.Bytes += 3 * out * in
	default: // on the way back dY is read and written in 8 bits, and W's codes are turned round
		work *= c.rates.Linear / c.rates.FP8
		c.Cost.Bytes += back * (3*float64(t)*out + 2*out*in)
	}
	c.Cost.Linear += work
	c.Cost.Figure += 2 * figure * float64(t) * out * in
	if l.LoRA != nil {
		c.Cost.Linear += 2 * (1 + back) * float64(t) * float64(l.LoRA.A.Dim(0)) * (in + out)
	}
	c.Cost.Calls++
}

// EmbedForward implements Embedding.
func (c *Counter) EmbedForward(y Tensor, table Weight, _ Tensor) {
	if table.Where == Host {
		c.Cost.Moved += float64(y.Bytes())
	}
	c.touch(y, y)
}

// EmbedBackward implements Embedding. Rows of host memory come and go at the same time; no more of them than there are.
func (c *Counter) EmbedBackward(dTable, dy, _ Tensor) {
	if dTable.Where == Host {
		c.Cost.Moved += min(4*float64(dy.Elems()), float64(dTable.Bytes()))
	}
	c.touch(dy, dy, dy)
}

// CopySet implements Embedding.
func (c *Counter) CopySet(dst, src Tensor, s RowSet) {
	n := 4 * float64(s.N) * float64(dst.Dim(1))
	if dst.Where == Host || src.Where == Host {
		c.Cost.Moved += n
	} else {
		c.Cost.Bytes += 2 * n
	}
	c.Cost.Calls++
}

// RMSNormForward implements RMSNorm.
func (c *Counter) RMSNormForward(y, _, x, _ Tensor, _, _ float32) { c.touch(y, x) }

// RMSNormBackward implements RMSNorm.
func (c *Counter) RMSNormBackward(dx, _, dy, x, _, _ Tensor, _ float32) { c.touch(dx, dx, dy, x) }

// LayerNormForward implements LayerNorm.
func (c *Counter) LayerNormForward(y, _, x, _, _ Tensor, _ float32) { c.touch(y, x) }

// LayerNormBackward implements LayerNorm.
func (c *Counter) LayerNormBackward(dx, _, _, dy, x, _, _ Tensor) { c.touch(dx, dx, dy, x) }

// RopeTable implements Rotary.
func (c *Counter) RopeTable(cs, _, _ Tensor, _ float32) { c.touch(cs) }

// Rope implements Rotary.
func (c *Counter) Rope(dst, src, _ Tensor, _ bool) { c.touch(dst, src) }

// SwiGLUForward implements SwiGLU.
func (c *Counter) SwiGLUForward(h, g, u Tensor) { c.touch(h, g, u) }

// SwiGLUBackward implements SwiGLU.
func (c *Counter) SwiGLUBackward(dg, du, dh, g, u Tensor) { c.touch(dg, du, dh, g, u) }

// GatedForward implements Gater, for a GPU that multiplies in FP8: h is written in 8 bits.
func (c *Counter) GatedForward(_, g, u Tensor, p Proj) bool {
	if !c.inFP8(p.L) || !p.L.Alone() {
		return false
	}
	c.touch(g, u)
	c.Cost.Bytes += float64(g.Bytes()) / 2
	c.product(p.L, g.Dim(0), 1, 1, 0)
	return true
}

// GatedBackward implements Gater: of a gradient 8 bits are written, and nothing is read again.
func (c *Counter) GatedBackward(_, dh Tensor, gate, up ProjGrad) bool {
	if !c.inFP8(gate.L) || !gate.L.Alone() || !c.inFP8(up.L) || !up.L.Alone() {
		return false
	}
	c.touch(dh, gate.DY, up.DY)
	for _, q := range []ProjGrad{gate, up} {
		c.product(q.L, dh.Dim(0), 1, 1, 1)
		c.Cost.Bytes -= float64(q.DY.Bytes())
	}
	return true
}

// GELUForward implements GELU.
func (c *Counter) GELUForward(h, g, u Tensor, _ bool) { c.touch(some(h, g, u)...) }

// GELUBackward implements GELU.
func (c *Counter) GELUBackward(dg, du, dh, g, u Tensor, _ bool) { c.touch(some(dg, du, dh, g, u)...) }

// some are the tensors that are not None.
func some(ts ...Tensor) []Tensor { return slices.DeleteFunc(ts, Tensor.None) }

// Scale implements Scale.
func (c *Counter) Scale(y, res, x Tensor, _ float32) {
	if res.None() {
		c.touch(y, x)
		return
	}
	c.touch(y, res, x)
}

// AttnForward implements Attention.
func (c *Counter) AttnForward(a *Attn) {
	c.attention(a, 4)
}

// AttnBackward implements Attention.
func (c *Counter) AttnBackward(a *Attn) {
	c.attention(a, 10)
}

// attention counts so many operations for each query, key and channel of a head.
func (c *Counter) attention(a *Attn, each float64) {
	t := a.Q.Dim(0)
	c.Cost.Attention += each * float64(a.D) * a.Pairs(t) * a.slower(c.act)
	c.Cost.Figure += each * float64(a.D) * a.figure(t)
	c.Cost.Calls++
}

// HeadLoss implements Losses.
func (c *Counter) HeadLoss(h *HeadLoss) {
	products := 1.0
	if !h.DX.None() {
		products++
	}
	figure := products
	if !h.DW.None() {
		products++
	}
	n := float64(h.X.Dim(0)) * float64(h.W.Dim(0))
	c.Cost.Head += 2 * products * n * float64(h.W.Dim(1))
	c.Cost.Figure += 2 * figure * n * float64(h.W.Dim(1))
	c.Cost.Bytes += 12 * n
	c.Cost.Calls++
}

// SumF32 implements Losses.
func (c *Counter) SumF32(_, x Tensor) { c.touch(x) }

// SumSquares implements Losses.
func (c *Counter) SumSquares(_, x Tensor) { c.touch(x) }

// ArgMax implements Losses.
func (c *Counter) ArgMax(_, logits Tensor) { c.touch(logits) }

// AdamW implements Optimizer.
func (c *Counter) AdamW(w, m, v, grad, copy Tensor, _ AdamW) {
	if copy.Where == Host {
		c.Cost.Moved += float64(copy.Bytes())
	}
	c.touch(w, w, m, m, v, v, grad)
}

func (c *Counter) touch(ts ...Tensor) {
	for _, t := range ts {
		c.Cost.Bytes += float64(t.Bytes())
	}
	c.Cost.Calls++
}

func (c *Counter) move(t Tensor) {
	c.Cost.Moved += float64(t.Bytes())
	c.Cost.Calls++
}
