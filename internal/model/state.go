package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// state are the float32 values and the moments of the matrices that are trained whole, where they wait in host memory.
// Operations read none of them but the optimizer: it takes them piece by piece to the device and back, each piece
// updated while the next comes and the one before goes. What operations read stays on the device, and so do gradients,
// but for those of an embedding that is not the head: its operations read and write some rows, where they lie.
type state struct {
	b     ops.Backend
	host  [3]ops.Tensor           // value and moments (n) float32; None where nothing waits
	piece [statePieces]statePiece // on the device
	size  int                     // elements of a piece
	gone  ops.Ticket              // of the last copy to host memory
	sums  sums                    // gradients of the first of them
}

// statePiece is room for a piece of each.
type statePiece struct {
	part [3]ops.Tensor // (≤ size) float32
	gone ops.Ticket    // of the copy to host memory
}

const (
	// one piece comes, one is updated, one goes
	statePieces = 3
	// elements of a piece: 8 MiB of each tensor, which a copy takes longer for than it takes to start
	stateElems = 2 << 20
)

// piece is how many elements come to the device at a time: whole rows of the embedding.
func (mem Memory) piece(width int) int {
	n := mem.Piece
	if n == 0 {
		n = stateElems
	}
	return max(1, n/width) * width
}

// newState takes room for n elements of a model's, and for gradients of the first sparse ones, its embedding.
func newState(b ops.Backend, d Desc, mem Memory, n, sparse int) (s state) {
	s.b, s.size = b, mem.piece(d.C)
	s.sums = newSums(b, mem, sparse, d.V, d.C, sumsPieces*s.size)
	for i := range s.host {
		s.host[i] = mem.State.New(tensor.F32, n)
		for k := range s.piece {
			s.piece[k].part[i] = mem.Params.New(tensor.F32, min(n, s.size))
		}
	}
	return s
}

// elems is how many elements wait.
func (s *state) elems() int {
	if s.host[0].None() {
		return 0
	}
	return s.host[0].Dim(0)
}

// bring begins to copy elements [lo, hi) of what waits to piece k.
func (s *state) bring(k int, parts []ops.Tensor, lo, hi int) (t ops.Ticket) {
	x := &s.piece[k]
	s.b.Wait(x.gone)
	for i, from := range parts {
		to := x.part[i].Rows(0, hi-lo)
		t = s.b.Bring(to, from.Rows(lo, hi), ops.Whole(to))
	}
	return t
}

// send begins to copy piece k to elements [lo, hi) of what waits.
func (s *state) send(k int, parts []ops.Tensor, lo, hi int) {
	x := &s.piece[k]
	for i, to := range parts {
		from := x.part[i].Rows(0, hi-lo)
		x.gone = s.b.Send(to.Rows(lo, hi), from, ops.Whole(from))
	}
	s.gone = x.gone
}

// update is the optimizer's step on elements [lo, hi), of which grad and compute give some: float32, act.
func (s *state) update(lo, hi int, grad, compute func(from, to int) ops.Tensor, h ops.AdamW) {
	var in [statePieces]ops.Ticket
	pieces := (hi - lo + s.size - 1) / s.size
	ends := func(i int) (from, to int) { return lo + i*s.size, min(lo+(i+1)*s.size, hi) }
	bring := func(i int) {
		if i < pieces {
			from, to := ends(i)
			in[i%statePieces] = s.bring(i%statePieces, s.host[:], from, to)
		}
	}
	s.b.Wait(s.gone) // of the update before
	for i := range statePieces - 1 {
		bring(i)
	}
	for i := range pieces {
		from, to := ends(i)
		k := i % statePieces
		x, c, copied := s.piece[k].part, compute(from, to), ops.Tensor{}
		for j := range x {
			x[j] = x[j].Rows(0, to-from)
		}
		if c.DType != tensor.F32 {
			copied = c
		}
		s.b.Wait(in[k])
		s.b.AdamW(x[0], x[1], x[2], grad(from, to), copied, h)
		if copied.None() {
			s.b.Convert(c, x[0])
		}
		s.send(k, s.host[:], from, to)
		bring(i + statePieces - 1)
	}
}

// byPieces calls f for the pieces of n elements, k being the piece of the device to use.
func (s *state) byPieces(n int, f func(k, lo, hi int)) {
	for i, lo := 0, 0; lo < n; i, lo = i+1, lo+s.size {
		f(i%statePieces, lo, min(lo+s.size, n))
	}
}

// load gives a parameter that waits its value from a base tensor.
func (s *state) load(p *Param, r tensor.Stored) {
	n, size := p.Value.Elems(), r.Format.Type.Size()
	value, compute := p.Value.Reshape(n), p.Compute.Reshape(n)
	s.byPieces(n, func(k, lo, hi int) {
		s.b.Wait(s.piece[k].gone)
		to := s.piece[k].part[0].Rows(0, hi-lo)
		part := tensor.Stored{Format: r.Format, Shape: tensor.Shape{hi - lo}}
		if r.Data != nil {
			part.Data = r.Data[lo*size : hi*size]
		}
		upload(s.b, to, part)
		s.b.Convert(compute.Rows(lo, hi), to)
		s.send(k, []ops.Tensor{value}, lo, hi)
	})
}

// fill writes a tensor that waits.
func (s *state) fill(t ops.Tensor, v []float32) {
	flat := t.Reshape(t.Elems())
	s.byPieces(len(v), func(k, lo, hi int) {
		s.b.Wait(s.piece[k].gone)
		s.b.Upload(s.piece[k].part[0].Rows(0, hi-lo), bytesOf(v[lo:hi]))
		s.send(k, []ops.Tensor{flat}, lo, hi)
	})
}

// read gives as many elements of a tensor that waits as v has room for.
func (s *state) read(v []float32, t ops.Tensor) (err error) {
	flat := t.Reshape(t.Elems())
	s.b.Wait(s.gone)
	s.byPieces(len(v), func(k, lo, hi int) {
		s.b.Wait(s.bring(k, []ops.Tensor{flat}, lo, hi))
		if e := s.b.Download(bytesOf(v[lo:hi]), s.piece[k].part[0].Rows(0, hi-lo)); err == nil {
			err = e
		}
	})
	return err
}
