package tokenizer

// longWord is the number of symbols from which a word is merged by mergeLong.
const longWord = 1 << 14

// symbols are a word in the making, in four bytes for each symbol that it began as. Where a token begins stands its id.
// The other places that it takes up are below zero; its second and its last say how many places it has in all, as -n.
type symbols []int32

// span is how many places the token at l takes up.
func (s symbols) span(l int32) int32 {
	if int(l)+1 < len(s) && s[l+1] < 0 {
		return -s[l+1]
	}
	return 1
}

// gone says that the token which began at l has been merged into the one before it.
func (s symbols) gone(l int32) bool { return s[l] < 0 }

// join makes the token id of the one at l and the one behind it, and gives the place of the token before, -1 for none.
func (s symbols) join(l, id int32) (before int32) {
	r := l + s.span(l)
	span := r - l + s.span(r)
	s[l], s[r] = id, -1
	s[l+1], s[l+span-1] = -span, -span
	switch {
	case l == 0:
		return -1
	case s[l-1] < 0:
		return l + s[l-1]
	}
	return l - 1
}

// pairAt is what the token at l and the one behind it become.
func (m *bpe) pairAt(s symbols, l int32) (merge, bool) {
	r := l + s.span(l)
	if int(r) >= len(s) {
		return merge{}, false
	}
	mg, ok := m.merges[pairKey(s[l], s[r])]
	return mg, ok
}

// mergeAll merges c.syms in O(n log n): what may be merged lies in a heap. An entry is dropped when it comes up after
// its symbols have changed, unless the pair that stands there now becomes the same token: so does the tokenizers
// library.
func (m *bpe) mergeAll(c *wordCache) {
	s, h := c.syms, c.heap[:0]
	try := func(l int32) {
		if mg, ok := m.pairAt(s, l); ok {
			h = append(h, entry{uint64(mg.rank)<<32 | uint64(l), mg.id})
			h.up(len(h) - 1)
		}
	}
	for i := range s {
		try(int32(i))
	}
	for len(h) > 0 {
		top := h[0]
		last := len(h) - 1
		h[0], h = h[last], h[:last]
		h.down()
		l := int32(uint32(top.key))
		if s.gone(l) {
			continue
		}
		if mg, ok := m.pairAt(s, l); !ok || mg.id != top.id {
			continue
		}
		if before := s.join(l, top.id); before >= 0 {
			try(before)
		}
		try(l)
	}
	c.heap = h
}

// entry is a merge that may be due: key is rank<<32 | position of its left symbol, id what the pair becomes.
type entry struct {
	key uint64
	id  int32
}

// queue is a binary heap, the next merge on top.
type queue []entry

func (h queue) up(i int) {
	for i > 0 {
		k := (i - 1) / 2
		if h[k].key <= h[i].key {
			return
		}
		h[i], h[k] = h[k], h[i]
		i = k
	}
}

func (h queue) down() {
	for i := 0; ; {
		k := 2*i + 1
		if k >= len(h) {
			return
		}
		if k+1 < len(h) && h[k+1].key < h[k].key {
			k++
		}
		if h[i].key <= h[k].key {
			return
		}
		h[i], h[k] = h[k], h[i]
		i = k
	}
}
