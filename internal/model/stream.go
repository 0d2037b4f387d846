package model

import (
	"fmt"
	"iter"
	"slices"
	"unsafe"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// streamSlots is how many layers' matrices that lie elsewhere have room on the device: one layer is computed with while
// the next one's come.
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

// streamer has the frozen matrices of some layers lie elsewhere, and brings them into slots on the device while layers
// before them are computed: they wait in host memory, or are divided among the processes of the machine, of which each
// has an equal part of every layer's bytes where the others read it. Nobody writes them, so that who fetches a part
// asks nobody, whatever the others are doing. The matrices of a layer lie one after the other in one piece of memory,
// whatever their formats. Nothing is ever copied back. A slot keeps what it holds until another layer needs it, so the
// last two layers of a way forward are there for the way back, and the first two of that for what comes after it: the
// next tile, the next row, the next step.
type streamer struct {
	b      ops.Backend
	layers []Layer
	parts  *Parts // nil where matrices wait in host memory
	turn   []int  // [layer] its number among those that lie elsewhere, -1 for one that is resident
	waits  []waiting
	slots  []streamSlot
	order  []int // turns in the order in which cells use them
	at     int   // the next one of order
}

// Parts says how frozen matrices are divided among the processes of a machine.
type Parts struct {
	N, I int        // so many processes, this one's number
	Own  *ops.Arena // ops.Shared: this one's part of each layer
	Read int64      // bytes of the others' parts that were fetched so far
	// Join waits until all processes have loaded theirs, and says where each one's Own begins, by number.
	Join func() ([]unsafe.Pointer, error)
}

// waiting are one layer's matrices where they lie.
type waiting struct {
	layer int
	lo    int64        // the byte of the layer at which this process's part begins
	own   ops.Tensor   // (bytes/4) int32, that part; all of them in host memory
	whole *ops.Arena   // what would lie from own's address on if all parts did
	parts []ops.Tensor // all of them, in their order; empty where only counted and no copy from elsewhere
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

// newStreamer is for n layers of m, none of them added yet; parts says how they are divided, nil where they are not.
func newStreamer(b ops.Backend, m *Model, n int, parts *Parts) *streamer {
	s := &streamer{b: b, layers: m.Layers, parts: parts, turn: make([]int, m.L)}
	for l := range s.turn {
		if s.turn[l] = -1; streams(l, n, m.L) {
			s.turn[l] = len(s.waits)
			s.waits = append(s.waits, waiting{layer: l})
		}
	}
	return s
}

// room takes memory for this process's part of layer l's matrices, n bytes in all.
func (s *streamer) room(l int, n int64, a *ops.Arena) *waiting {
	y, of := &s.waits[s.turn[l]], int64(1)
	if s.parts != nil {
		of = int64(s.parts.N)
	}
	part := (n + of*ops.Align - 1) / (of * ops.Align) * ops.Align
	y.own = a.New(tensor.I32, int(part)/4)
	y.whole, y.parts = ops.ArenaAt(y.own.P, a.Space, part*of), []ops.Tensor{y.own}
	if s.parts != nil {
		y.lo = int64(s.parts.I) * part
	}
	return y
}

// hold lays a frozen matrix of the layer after those before it, and writes what of it is this process's.
func (y *waiting) hold(b ops.Backend, f tensor.Format, r tensor.Stored) (ops.Weight, error) {
	w := y.whole.Weight(f, r.Shape)
	if w.Where == ops.Host {
		return w, w.Fill(r)
	}
	return w, w.FillPart(b, r, y.own.P, y.own, y.lo)
}

// added says that all frozen matrices of layer l, which are in the layer by now, are held.
func (s *streamer) added(l int) {
	for r, still := range s.layers[l].still {
		if still {
			s.waits[s.turn[l]].w[r] = s.layers[l].Lin[r].W
		}
	}
}

// join finds the parts of the other processes.
func (s *streamer) join() error {
	if s.parts == nil {
		return nil
	}
	if err := s.b.Sync(); err != nil {
		return err
	}
	bases, err := s.parts.Join()
	if err != nil {
		return err
	}
	for i := range s.waits {
		y := &s.waits[i]
		at := uintptr(y.own.P) - uintptr(s.parts.Own.Base())
		y.parts = nil
		for _, base := range bases {
			y.parts = append(y.parts, ops.Tensor{P: unsafe.Add(base, at), DType: tensor.I32, Shape: y.own.Shape})
		}
	}
	return nil
}

// place takes the slots, once all layers are added.
func (s *streamer) place(a *ops.Arena) {
	most := 0
	for i := range s.waits {
		most = max(most, s.waits[i].elems(s.parts))
	}
	for range min(streamSlots, len(s.waits)) {
		s.slots = append(s.slots, streamSlot{room: a.New(tensor.I32, most), turn: -1})
	}
}

// elems is the length of the layer's matrices in a slot.
func (y *waiting) elems(p *Parts) int {
	if p == nil {
		return y.own.Dim(0)
	}
	return p.N * y.own.Dim(0)
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
	s.set(l, func(w ops.Weight) ops.Weight { return w.In(x.room.P, s.waits[t].own.P) })
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
			if x := &s.slots[i]; !slices.Contains(next, x.turn) {
				x.turn = t
				s.fetch(x, &s.waits[t])
				break
			}
		}
	}
}

// fetch begins to copy a layer's matrices to a slot; of those that are divided this process's own part and then those
// of the processes after it, so that not all ask one.
func (s *streamer) fetch(x *streamSlot, y *waiting) {
	n := y.own.Dim(0)
	if n == 0 {
		return
	}
	if s.parts == nil {
		to := x.room.Rows(0, n)
		x.in = s.b.Bring(to, y.own, ops.Whole(to))
		return
	}
	for i := range y.parts {
		k := (s.parts.I + i) % s.parts.N
		to := x.room.Rows(k*n, (k+1)*n)
		x.in = s.b.Share(to, y.parts[k], ops.Whole(to))
		if i > 0 {
			s.parts.Read += to.Bytes()
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
func (m *Model) StreamBytes(n int) (host, device int64) { return m.awayBytes(n, nil) }

// ShardBytes is what the frozen matrices of n layers take on each device among whose processes they are divided, and
// what the slots take there.
func (m *Model) ShardBytes(n int) (part, slots int64) { return m.awayBytes(n, m.parts) }

func (m *Model) awayBytes(n int, parts *Parts) (own, device int64) {
	if n == 0 {
		return 0, 0
	}
	slots, waits := ops.CountingArena("slots", ops.Device), ops.CountingArena("waiting weights", ops.Host)
	m.countStream(nil, n, parts, slots, waits)
	return waits.Peak(), slots.Peak()
}

// countStream is the streamer of n layers of a model that is only counted. What each process has itself is not counted
// as copied.
func (m *Model) countStream(b ops.Backend, n int, parts *Parts, slots, waits *ops.Arena) *streamer {
	s := newStreamer(b, m, n, parts)
	for _, y := range s.waits {
		bytes := int64(0)
		for r, still := range m.Layers[y.layer].still {
			if w := m.Layers[y.layer].Lin[r].W; still {
				bytes += ops.Room(w.Format, w.Shape)
			}
		}
		y := s.room(y.layer, bytes, waits)
		for parts != nil && len(y.parts) < parts.N {
			y.parts = append(y.parts, y.own)
		}
		s.added(y.layer)
	}
	s.place(slots)
	return s
}

// weightsOf are the frozen matrices of a runner of a tiling.
func (m *Model) weightsOf(b ops.Backend, tl Tiling, act *ops.Arena) weights {
	n, parts := tl.Stream+tl.Shard, m.parts
	if tl.Shard == 0 {
		parts = nil
	}
	switch {
	case n == 0 && m.stream == nil:
		return resident{}
	case act.Counting():
		return m.countStream(b, n, parts, ops.CountingArena("slots", ops.Device),
			ops.CountingArena("waiting weights", ops.Host))
	case m.stream == nil || n != len(m.stream.waits) || (m.stream.parts == nil) != (parts == nil):
		panic(fmt.Sprintf("model: a tiling that streams %d layers and divides %d, for a model that is loaded otherwise",
			tl.Stream, tl.Shard))
	}
	return m.stream
}
