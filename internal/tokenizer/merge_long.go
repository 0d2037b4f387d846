package tokenizer

import (
	"container/heap"
	"sync"
)

// hugeWord is the number of symbols from which words are merged one at a time, whoever wants them: with what several of
// them take together, a file of such words would take the machine.
const hugeWord = 1 << 20

var huge sync.Mutex

// mergeLong does what mergeAll does for a word of any length, in the same order, with some 10 bytes for each byte of
// the word: a heap of merges that each have a list of places is small, where a heap of places is as large as the
// word and leaves the processor's caches with each step.
func (m *bpe) mergeLong(s symbols) {
	if len(s) >= hugeWord {
		huge.Lock()
		defer huge.Unlock()
	}
	var next dues
	var spare blocks
	by := map[uint64]*due{} // rank<<32 | id
	try := func(l int32) {
		mg, ok := m.pairAt(s, l)
		if !ok {
			return
		}
		key := pairKey(mg.rank, mg.id)
		d := by[key]
		if d == nil {
			d = &due{rank: mg.rank, id: mg.id, spare: &spare}
			by[key] = d
		}
		switch fresh := d.empty(); {
		case !d.put(l): // not the first
		case fresh:
			heap.Push(&next, d)
		default:
			heap.Fix(&next, d.index)
		}
	}
	for i := range s {
		try(int32(i))
	}
	for len(next) > 0 {
		d := next[0]
		l := d.first
		if d.take(); d.empty() {
			heap.Pop(&next)
		} else {
			heap.Fix(&next, 0)
		}
		if s.gone(l) {
			continue
		}
		if mg, ok := m.pairAt(s, l); !ok || mg.id != d.id {
			continue
		}
		if before := s.join(l, d.id); before >= 0 {
			try(before)
		}
		try(l)
	}
}

// due are the places where the same merge may be due. They are found from left to right, several times over: each time
// is a stretch. What is found behind the ends of all runs, once there are many, waits in a heap.
type due struct {
	rank, id int32
	first    int32 // the leftmost place
	index    int   // in dues
	runs     []stretch
	late     places
	spare    *blocks
}

const maxRuns = 8

func (d *due) empty() bool { return len(d.runs) == 0 && len(d.late) == 0 }

// put adds a place, and says whether it is the leftmost now.
func (d *due) put(l int32) (first bool) {
	first = d.empty() || l < d.first
	if first {
		d.first = l
	}
	for i := range d.runs { // whose ends fall from run to run
		if d.runs[i].last <= l {
			d.runs[i].put(l, d.spare)
			return first
		}
	}
	if len(d.runs) == maxRuns {
		d.late.put(l)
		return first
	}
	d.runs = append(d.runs, stretch{head: l, last: l})
	return first
}

// take removes the leftmost place.
func (d *due) take() {
	from := -1
	for i := range d.runs {
		if d.runs[i].head == d.first {
			from = i
			break
		}
	}
	switch {
	case from < 0:
		d.late.take()
	case !d.runs[from].take(d.spare):
		d.runs = append(d.runs[:from], d.runs[from+1:]...)
	}
	if d.empty() {
		d.runs = nil
		return
	}
	d.first = 1<<31 - 1
	for i := range d.runs {
		d.first = min(d.first, d.runs[i].head)
	}
	if len(d.late) > 0 {
		d.first = min(d.first, d.late[0])
	}
}

// stretch is an ascending list of places: the first, and how far each is from the one before.
type stretch struct {
	head, last int32
	steps      [][]byte // as varints, of which none lies in two blocks
	at         int      // in steps[0]
}

const (
	leastBlock = 16
	mostBlock  = 1 << 16
	varintMax  = 5
)

func (r *stretch) put(l int32, spare *blocks) {
	n := len(r.steps)
	if n == 0 || cap(r.steps[n-1])-len(r.steps[n-1]) < varintMax {
		size := leastBlock
		if n > 0 {
			size = min(mostBlock, 2*cap(r.steps[n-1]))
		}
		r.steps = append(r.steps, spare.get(size))
		n++
	}
	b := r.steps[n-1]
	d := uint32(l - r.last)
	for ; d >= 0x80; d >>= 7 {
		b = append(b, byte(d)|0x80)
	}
	r.steps[n-1], r.last = append(b, byte(d)), l
}

// take removes the first place; false says that it was the only one.
func (r *stretch) take(spare *blocks) bool {
	if len(r.steps) == 0 {
		return false
	}
	b := r.steps[0]
	d, shift := uint32(0), 0
	for {
		c := b[r.at]
		r.at++
		d |= uint32(c&0x7f) << shift
		if shift += 7; c < 0x80 {
			break
		}
	}
	r.head += int32(d)
	if r.at == len(b) {
		spare.put(b)
		if r.steps, r.at = r.steps[1:], 0; len(r.steps) == 0 {
			r.steps = nil
		}
	}
	return true
}

// blocks are those of the largest size that are used no more, for the next to come.
type blocks [][]byte

func (s *blocks) get(size int) []byte {
	if n := len(*s); size == mostBlock && n > 0 {
		b := (*s)[n-1]
		*s = (*s)[:n-1]
		return b[:0]
	}
	return make([]byte, 0, size)
}

func (s *blocks) put(b []byte) {
	if cap(b) == mostBlock {
		*s = append(*s, b)
	}
}

// dues is a heap, the next merge on top: of the lowest rank, the leftmost.
type dues []*due

func (h dues) Len() int { return len(h) }
func (h dues) Less(i, j int) bool {
	return h[i].rank < h[j].rank || h[i].rank == h[j].rank && h[i].first < h[j].first
}
func (h dues) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *dues) Push(x any) {
	d := x.(*due)
	d.index = len(*h)
	*h = append(*h, d)
}
func (h *dues) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	*h = (*h)[:last]
	return d
}

// places is a binary heap, the leftmost on top.
type places []int32

func (h *places) put(l int32) {
	*h = append(*h, l)
	p := *h
	for i := len(p) - 1; i > 0; {
		k := (i - 1) / 2
		if p[k] <= p[i] {
			return
		}
		p[i], p[k] = p[k], p[i]
		i = k
	}
}

func (h *places) take() {
	p := *h
	last := len(p) - 1
	p[0] = p[last]
	p = p[:last]
	*h = p
	for i := 0; 2*i+1 < last; {
		k := 2*i + 1
		if k+1 < last && p[k+1] < p[k] {
			k++
		}
		if p[i] <= p[k] {
			return
		}
		p[i], p[k] = p[k], p[i]
		i = k
	}
}
