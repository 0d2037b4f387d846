package tokenizer

// longWord is the number of symbols from which a word is merged by mergeLong.
const longWord = 1 << 14

// symbol is a token of a word in the making. A merged token stands where its first symbol stood.
type symbol struct {
	id   int32
	len  int32 // bytes of the word; 0: it has been merged into another
	span int32 // how many places the token takes up; where it is longer than one, its last place says so too
}

// pairAt is what the token at l and the one behind it become.
func (m *bpe) pairAt(s []symbol, l int32) (merge, bool) {
	r := l + s[l].span
	if int(r) >= len(s) {
		return merge{}, false
	}
	mg, ok := m.merges[pairKey(s[l].id, s[r].id)]
	return mg, ok
}

// join makes the token id of the one at l and the one behind it, and gives the place of the token before, -1 for none.
func join(s []symbol, l, id int32) (before int32) {
	r := l + s[l].span
	span := s[l].span + s[r].span
	s[l] = symbol{id, s[l].len + s[r].len, span}
	s[r].len = 0
	s[l+span-1].span = span
	if l == 0 {
		return -1
	}
	return l - s[l-1].span
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
		if s[l].len == 0 {
			continue
		}
		if mg, ok := m.pairAt(s, l); !ok || mg.id != top.id {
			continue
		}
		if before := join(s, l, top.id); before >= 0 {
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
