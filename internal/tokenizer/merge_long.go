package tokenizer

import "container/heap"

// due are the places where the same merge may be due. Most are found from left to right and wait in a list; those found
// behind a later one wait in a heap.
type due struct {
	rank, id int32
	list     []int32 // ascending, from at on
	at       int
	late     places
	index    int // in dues
}

// first is the leftmost place.
func (d *due) first() int32 {
	if d.at == len(d.list) || len(d.late) > 0 && d.late[0] < d.list[d.at] {
		return d.late[0]
	}
	return d.list[d.at]
}

// take removes the leftmost place.
func (d *due) take() {
	if d.at == len(d.list) || len(d.late) > 0 && d.late[0] < d.list[d.at] {
		d.late.take()
		return
	}
	if d.at++; d.at == len(d.list) {
		d.list, d.at = nil, 0
	}
}

func (d *due) put(l int32) {
	if n := len(d.list); n == 0 || l >= d.list[n-1] {
		d.list = append(d.list, l)
		return
	}
	d.late.put(l)
}

func (d *due) empty() bool { return len(d.list) == 0 && len(d.late) == 0 }

// mergeLong does what mergeAll does for a word of any length, in the same order, with some 20 bytes for each byte of
// the word: a heap of merges that each have a list of places is small, where a heap of places is as large as the
// word and leaves the processor's caches with each step.
func (m *bpe) mergeLong(s []symbol) {
	var next dues
	by := map[uint64]*due{} // rank<<32 | id
	try := func(l int32) {
		mg, ok := m.pairAt(s, l)
		if !ok {
			return
		}
		key := pairKey(mg.rank, mg.id)
		d := by[key]
		if d == nil {
			d = &due{rank: mg.rank, id: mg.id}
			by[key] = d
		}
		fresh := d.empty()
		d.put(l)
		if fresh {
			heap.Push(&next, d)
		} else if d.first() == l {
			heap.Fix(&next, d.index)
		}
	}
	for i := range s {
		try(int32(i))
	}
	for len(next) > 0 {
		d := next[0]
		l := d.first()
		if d.take(); d.empty() {
			heap.Pop(&next)
		} else {
			heap.Fix(&next, 0)
		}
		if s[l].len == 0 {
			continue
		}
		if mg, ok := m.pairAt(s, l); !ok || mg.id != d.id {
			continue
		}
		if before := join(s, l, d.id); before >= 0 {
			try(before)
		}
		try(l)
	}
}

// dues is a heap, the next merge on top: of the lowest rank, the leftmost.
type dues []*due

func (h dues) Len() int { return len(h) }
func (h dues) Less(i, j int) bool {
	return h[i].rank < h[j].rank || h[i].rank == h[j].rank && h[i].first() < h[j].first()
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
