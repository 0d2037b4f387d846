package model

import (
	"fmt"
	"iter"
	"slices"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// streamSlots is how many streamed layers' matrices have room on the device: one layer is computed with while the next
// one's come.
const streamSlots = 2

// weights is told between which two moments a cell computes with its layer's frozen matrices, which may lie elsewhere
// at other times.
type weights interface {
	// begin says which cells follow.
	begin(cells iter.Seq[cell])
	// use makes sure that layer l's matrices can be read.
	use(l int)
	// spent says that this cell does not want them any more.
	spent(l int)
}

// resident are matrices that lie in the memory of the operations all the time.
type resident struct{}

func (resident) begin(iter.Seq[cell]) {}
func (resident) use(int)              {}
func (resident) spent(int)            {}

// streamer has the frozen matrices of some layers wait in host memory, and brings them into slots on the device while
// layers before them are computed. The matrices of a layer lie one after the other in one piece of memory, whatever
// their formats, and are copied as one. Nothing is ever copied back. A slot keeps what it holds until another layer
// needs it, so the last two layers of a way forward are there for the way back, and the first two of that for what
// comes after it: the next tile, the next row, the next step.
type streamer struct {
	b      ops.Backend
	layers []Layer
	turn   []int // [layer] its number among the streamed layers, -1 for one that is resident
	waits  []waiting
	slots  []streamSlot
	order  []int // turns in the order in which cells use them
	at     int   // the next one of order
}

// waiting are one layer's matrices in host memory.
type waiting struct {
	layer int
	room  ops.Tensor // (bytes/4) int32
	w     [linears]ops.Weight
}

// streamSlot is room on the device.
type streamSlot struct {
	room ops.Tensor // (bytes/4) int32
	turn int        // whose matrices lie in it, or come; -1 for none
	in   ops.Ticket // of the copy under way
}

// streams reports whether layer l of L is one of n streamed ones: they are spread evenly, so that copies have time.
func streams(l, n, L int) bool { return (l+1)*n/L > l*n/L }

// newStreamer is for n layers of m, none of them added yet.
func newStreamer(b ops.Backend, m *Model, n int) *streamer {
	s := &streamer{b: b, layers: m.Layers, turn: make([]int, m.L)}
	for l := range s.turn {
		if s.turn[l] = -1; streams(l, n, m.L) {
			s.turn[l] = len(s.waits)
			s.waits = append(s.waits, waiting{layer: l})
		}
	}
	return s
}

// add says that layer l's frozen matrices, which are all in the layer by now, lie one after the other in n bytes from
// first on.
func (s *streamer) add(l int, first ops.Tensor, n int64) {
	y := &s.waits[s.turn[l]]
	y.room = ops.Tensor{P: first.P, DType: tensor.I32, Shape: tensor.Shape{int(n) / 4}}
	for r, still := range s.layers[l].still {
		if still {
			y.w[r] = s.layers[l].Lin[r].W
		}
	}
}

// place takes the slots, once all layers are added.
func (s *streamer) place(a *ops.Arena) {
	most := 0
	for _, y := range s.waits {
		most = max(most, y.room.Dim(0))
	}
	for range min(streamSlots, len(s.waits)) {
		s.slots = append(s.slots, streamSlot{room: a.New(tensor.I32, most), turn: -1})
	}
}

// begin implements weights. After the cells a way forward is expected.
func (s *streamer) begin(cells iter.Seq[cell]) {
	s.order, s.at = s.order[:0], 0
	for c := range cells {
		if t := s.turn[c.layer]; t >= 0 {
			s.order = append(s.order, t)
		}
	}
	for t := range s.slots {
		s.order = append(s.order, t)
	}
	s.bring()
}

// use implements weights.
func (s *streamer) use(l int) {
	t := s.turn[l]
	if t < 0 {
		return
	}
	i := s.holder(t)
	if i < 0 || s.order[s.at] != t {
		panic(fmt.Sprintf("model: the matrices of layer %d are not those that come next", l))
	}
	x := &s.slots[i]
	s.b.Wait(x.in)
	x.in = ops.Ticket{}
	s.set(l, func(w ops.Weight) ops.Weight { return w.In(x.room.P, s.waits[t].room.P) })
}

// spent implements weights.
func (s *streamer) spent(l int) {
	if s.turn[l] < 0 {
		return
	}
	s.set(l, func(w ops.Weight) ops.Weight { return w }) // which nothing can read
	s.at++
	s.bring()
}

// set gives layer l's frozen matrices the place that they have now.
func (s *streamer) set(l int, at func(w ops.Weight) ops.Weight) {
	for r, still := range s.layers[l].still {
		if still {
			s.layers[l].Lin[r].W = at(s.waits[s.turn[l]].w[r])
		}
	}
}

// holder is the slot that holds a turn's matrices, -1 where none does.
func (s *streamer) holder(turn int) int {
	for i := range s.slots {
		if s.slots[i].turn == turn {
			return i
		}
	}
	return -1
}

// bring fetches what is used next, in the place of what is not.
func (s *streamer) bring() {
	next := s.next()
	for _, t := range next {
		if s.holder(t) >= 0 {
			continue
		}
		for i := range s.slots {
			x, from := &s.slots[i], s.waits[t].room
			if slices.Contains(next, x.turn) {
				continue
			}
			if x.turn = t; from.Dim(0) > 0 {
				to := x.room.Rows(0, from.Dim(0))
				x.in = s.b.Bring(to, from, ops.Whole(to))
			}
			break
		}
	}
}

// next are the turns that are used next, as many as there are slots.
func (s *streamer) next() (turns []int) {
	for _, t := range s.order[s.at:] {
		if len(turns) == len(s.slots) {
			break
		}
		if !slices.Contains(turns, t) {
			turns = append(turns, t)
		}
	}
	return turns
}

// StreamBytes is what the frozen matrices of n streamed layers take in host memory, which is what they would take on
// the device, and what the slots take there.
func (m *Model) StreamBytes(n int) (host, device int64) {
	if n == 0 {
		return 0, 0
	}
	slots, waits := ops.CountingArena("slots", ops.Device), ops.CountingArena("waiting weights", ops.Host)
	m.countStream(nil, n, slots, waits)
	return waits.Peak(), slots.Peak()
}

// countStream is the streamer of n layers of a model that is only counted.
func (m *Model) countStream(b ops.Backend, n int, slots, waits *ops.Arena) *streamer {
	s := newStreamer(b, m, n)
	for _, y := range s.waits {
		mark, first := waits.Mark(), waits.New(tensor.I32, 0)
		for r, still := range m.Layers[y.layer].still {
			if w := m.Layers[y.layer].Lin[r].W; still {
				waits.Weight(w.Format, w.Shape)
			}
		}
		s.add(y.layer, first, waits.Mark()-mark)
	}
	s.place(slots)
	return s
}

// weightsOf are the frozen matrices of a runner whose tiling streams n layers.
func (m *Model) weightsOf(b ops.Backend, n int, act *ops.Arena) weights {
	switch {
	case n == 0 && m.stream == nil:
		return resident{}
	case act.Counting():
		return m.countStream(b, n, ops.CountingArena("slots", ops.Device), ops.CountingArena("waiting weights", ops.Host))
	case m.stream == nil || n != len(m.stream.waits):
		panic(fmt.Sprintf("model: a tiling that streams %d layers, for a model that is loaded otherwise", n))
	}
	return m.stream
}
