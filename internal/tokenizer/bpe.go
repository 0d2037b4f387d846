package tokenizer

import "strings"

// merge is what a pair of tokens becomes; lower ranks merge first.
type merge struct{ rank, id int32 }

// bpe is a byte-pair model. A word starts as one symbol a byte (byteLevel) or a character, and the pair of
// lowest rank merges, the leftmost first among equals, until none is left.
type bpe struct {
	vocab        map[string]int32 // token text as the file has it -> id
	merges       map[uint64]merge // left<<32 | right
	byteLevel    bool
	whole        map[string]int32 // words that are one token whatever the merges say (ignore_merges); nil: none
	byteID       [256]int32       // byteLevel: the byte's token; else its byte_fallback token; -1: none
	byteFallback bool
	unk          int32 // what stands for an unknown symbol; -1: it is left out
	fuseUnk      bool
}

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

const (
	// maxCachedWord keeps texts without any cut out of the cache.
	maxCachedWord = 64
	// maxCachedWords bounds a cache to some 10 MB; a full one starts afresh.
	maxCachedWords = 1 << 17
	// heapFrom is the number of symbols from which a heap finds the next merge faster than a scan.
	heapFrom = 48
)

// wordCache remembers the ids of words. One goroutine uses it at a time.
type wordCache struct {
	at   map[string][2]uint32 // from, to in ids
	ids  []int32
	syms []int32
	next []merge
}

func newWordCache() *wordCache { return &wordCache{at: map[string][2]uint32{}} }

// encodeWord appends the ids of one piece of text.
func (m *bpe) encodeWord(w string, c *wordCache, out []int32) []int32 {
	if len(w) > maxCachedWord {
		return m.mergeWord(w, c, out)
	}
	if s, ok := c.at[w]; ok {
		return append(out, c.ids[s[0]:s[1]]...)
	}
	n := len(out)
	out = m.mergeWord(w, c, out)
	if len(c.at) >= maxCachedWords {
		clear(c.at)
		c.ids = c.ids[:0]
	}
	from := len(c.ids)
	c.ids = append(c.ids, out[n:]...)
	c.at[strings.Clone(w)] = [2]uint32{uint32(from), uint32(len(c.ids))}
	return out
}

func (m *bpe) mergeWord(w string, c *wordCache, out []int32) []int32 {
	if id, ok := m.whole[w]; ok {
		return append(out, id)
	}
	c.syms = m.symbols(w, c.syms[:0])
	if len(c.syms) >= heapFrom {
		return m.mergeByHeap(c.syms, out)
	}
	return m.mergeByScan(c, out)
}

// symbols appends the tokens that a word starts from.
func (m *bpe) symbols(w string, out []int32) []int32 {
	lastUnk := false
	unknown := func() {
		if m.unk >= 0 && !(lastUnk && m.fuseUnk) {
			out = append(out, m.unk)
		}
		lastUnk = true
	}
	if m.byteLevel {
		for i := range len(w) {
			if id := m.byteID[w[i]]; id >= 0 {
				out, lastUnk = append(out, id), false
			} else {
				unknown()
			}
		}
		return out
	}
	for i, r := range w {
		s := w[i : i+len(string(r))]
		if id, ok := m.vocab[s]; ok {
			out, lastUnk = append(out, id), false
		} else if m.byteFallback && m.hasBytes(s) {
			for j := range len(s) {
				out = append(out, m.byteID[s[j]])
			}
			lastUnk = false
		} else {
			unknown()
		}
	}
	return out
}

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.byteID[s[i]] < 0 {
			return false
		}
	}
	return true
}

// mergeByScan merges a short word: next[i] is what symbols i and i+1 become.
func (m *bpe) mergeByScan(c *wordCache, out []int32) []int32 {
	syms, next := c.syms, c.next[:0]
	none := merge{rank: 1<<31 - 1}
	look := func(i int) merge {
		if i+1 < len(syms) {
			if mg, ok := m.merges[pairKey(syms[i], syms[i+1])]; ok {
				return mg
			}
		}
		return none
	}
	for i := range syms {
		next = append(next, look(i))
	}
	c.next = next
	for {
		best, at := none.rank, -1
		for i, mg := range next {
			if mg.rank < best {
				best, at = mg.rank, i
			}
		}
		if at < 0 {
			return append(out, syms...)
		}
		syms[at] = next[at].id
		syms = append(syms[:at+1], syms[at+2:]...)
		next = append(next[:at+1], next[at+2:]...)
		next[at] = look(at)
		if at > 0 {
			next[at-1] = look(at - 1)
		}
	}
}

// mergeByHeap merges a long word in O(n log n): symbols are a linked list, candidates lie in a heap and are
// dropped when they come up after one of their symbols has changed.
func (m *bpe) mergeByHeap(syms []int32, out []int32) []int32 {
	n := int32(len(syms))
	prev, next := make([]int32, n), make([]int32, n)
	for i := range n {
		prev[i], next[i] = i-1, i+1
	}
	h := make(candidates, 0, n)
	try := func(l int32) {
		if l < 0 || next[l] >= n {
			return
		}
		if mg, ok := m.merges[pairKey(syms[l], syms[next[l]])]; ok {
			h.push(candidate{rank: mg.rank, left: l, a: syms[l], b: syms[next[l]], id: mg.id})
		}
	}
	for i := range n {
		try(i)
	}
	for len(h) > 0 {
		c := h.pop()
		r := next[c.left]
		if syms[c.left] != c.a || r >= n || syms[r] != c.b {
			continue
		}
		syms[c.left], syms[r] = c.id, -1
		next[c.left] = next[r]
		if next[r] < n {
			prev[next[r]] = c.left
		}
		try(prev[c.left])
		try(c.left)
	}
	for i := int32(0); i < n; i = next[i] {
		out = append(out, syms[i])
	}
	return out
}

// candidate is a merge that may be due: symbols a and b at left and after it become id.
type candidate struct{ rank, left, a, b, id int32 }

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.left < d.left
}

// candidates is a binary heap, the next merge on top.
type candidates []candidate

func (h *candidates) push(c candidate) {
	s := append(*h, c)
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !s[i].before(s[up]) {
			break
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
	*h = s
}

func (h *candidates) pop() candidate {
	s := *h
	top, n := s[0], len(s)-1
	s[0] = s[n]
	s = s[:n]
	for i := 0; ; {
		k := 2*i + 1
		if k >= n {
			break
		}
		if k+1 < n && s[k+1].before(s[k]) {
			k++
		}
		if !s[k].before(s[i]) {
			break
		}
		s[i], s[k] = s[k], s[i]
		i = k
	}
	*h = s
	return top
}
