package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// merge is what a pair of tokens becomes; lower ranks merge first.
type merge struct{ rank, id int32 }

// bpe is a byte-pair model. A word starts as one symbol a byte (byteLevel) or a character, and the pair of lowest
// rank merges, the leftmost first among equals, until none is left.
type bpe struct {
	vocab        map[string]int32 // token text as the file has it -> id
	merges       map[uint64]merge // left<<32 | right
	byteLevel    bool
	whole        map[string]int32 // words that are one token whatever the merges say (ignore_merges); nil: none
	byteID       [256]int32       // byteLevel: the byte's token; else its byte_fallback token; -1: none
	byteFallback bool
	unk          int32 // what stands for an unknown symbol; -1: it is left out
	fuseUnk      bool
	prefix       string // written before a symbol that does not begin a word (continuing_subword_prefix)
	suffix       string // written behind a symbol that ends a word (end_of_word_suffix)
	joins        *joins // nil: words are not cut further
	plain        bool   // byteLevel, and each byte is a token whatever stands beside it
}

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

const (
	// maxCachedWord keeps texts without any cut out of the cache.
	maxCachedWord = 64
	// maxCachedWords and maxCachedTokens bound a cache to some 20 MB; a full one starts afresh.
	maxCachedWords  = 1 << 17
	maxCachedTokens = 1 << 20
)

// wordCache remembers the tokens of words and lends the merging its memory. One goroutine uses it at a time.
type wordCache struct {
	at   map[string][2]uint32 // from, to in ids and lens
	ids  []int32
	lens []int32
	syms symbols
	size []int32 // the bytes of the word that each of syms stands for; nil: one each
	heap queue
	best []ending // of unigram
	back []ending
}

func newWordCache() *wordCache { return &wordCache{at: map[string][2]uint32{}} }

// tokens collects ids and, where spans are wanted, how many bytes of its word each stands for.
type tokens struct {
	ids   []int32
	lens  []int32
	track bool
}

func (t *tokens) add(ids, lens []int32) {
	t.ids = append(t.ids, ids...)
	if t.track {
		t.lens = append(t.lens, lens...)
	}
}

func (m *bpe) id(token string) (int32, bool) {
	id, ok := m.vocab[token]
	return id, ok
}

func (m *bpe) size() int { return len(m.vocab) }

func (m *bpe) encodeWord(w string, c *wordCache, out *tokens) error {
	m.mergeWord(w, c, out)
	return nil
}

// mergeWord appends the tokens of one piece of text.
func (m *bpe) mergeWord(w string, c *wordCache, out *tokens) {
	if m.whole != nil {
		if id, ok := m.whole[w]; ok {
			n := int32(len(w))
			out.add([]int32{id}, []int32{n})
			return
		}
	}
	if m.joins == nil {
		m.encodePart(w, c, out)
		return
	}
	start, before := 0, rune(-1)
	for i, r := range w {
		if before >= 0 && !m.joins.may(before, r) {
			m.encodePart(w[start:i], c, out)
			start = i
		}
		before = r
	}
	m.encodePart(w[start:], c, out)
}

// encodePart merges a word, or a part of one that no merge leads out of.
func (m *bpe) encodePart(w string, c *wordCache, out *tokens) {
	if s, ok := c.at[w]; ok {
		out.add(c.ids[s[0]:s[1]], c.lens[s[0]:s[1]])
		return
	}
	if len(c.ids) > maxCachedTokens || len(c.at) >= maxCachedWords {
		clear(c.at)
		c.ids, c.lens = c.ids[:0], c.lens[:0]
	}
	m.begin(w, c, out.track)
	if len(c.syms) > longWord {
		m.mergeLong(c.syms)
		n := 0
		for i := int32(0); int(i) < len(c.syms); i += c.syms.span(i) {
			n++
		}
		if out.ids = slices.Grow(out.ids, n); out.track {
			out.lens = slices.Grow(out.lens, n)
		}
		for i := int32(0); int(i) < len(c.syms); {
			n := c.syms.span(i)
			if out.ids = append(out.ids, c.syms[i]); out.track {
				out.lens = append(out.lens, c.bytes(i, n))
			}
			i += n
		}
		c.syms, c.size = nil, nil // such large tables are not kept
		return
	}
	from := len(c.ids)
	m.mergeAll(c)
	for i := int32(0); int(i) < len(c.syms); {
		n := c.syms.span(i)
		c.ids, c.lens = append(c.ids, c.syms[i]), append(c.lens, c.bytes(i, n))
		i += n
	}
	out.add(c.ids[from:], c.lens[from:])
	if len(w) > maxCachedWord {
		c.ids, c.lens = c.ids[:from], c.lens[:from]
		return
	}
	c.at[strings.Clone(w)] = [2]uint32{uint32(from), uint32(len(c.ids))}
}

// bytes is how many bytes of the word the n places from l on stand for.
func (c *wordCache) bytes(l, n int32) (sum int32) {
	if c.size == nil {
		return n
	}
	for _, k := range c.size[l : l+n] {
		sum += k
	}
	return sum
}

// begin fills c.syms with the tokens that a word starts from, and c.size with their lengths: of a long word only where
// these are wanted. The order in which unknown characters come out is the tokenizers library's: one waits for a known
// one, bytes of byte_fallback do not end the waiting.
func (m *bpe) begin(w string, c *wordCache, sizes bool) {
	long := len(w) > longWord
	if c.syms, c.size = c.syms[:0], c.size[:0]; long {
		c.syms, c.size = make(symbols, 0, len(w)), nil
	}
	if m.plain {
		for i := range len(w) {
			c.syms = append(c.syms, m.byteID[w[i]])
		}
		c.size = nil
		return
	}
	lost := int32(0) // bytes that no symbol has taken yet
	add := func(id, n int32) {
		c.syms = append(c.syms, id)
		if sizes || !long {
			c.size = append(c.size, n+lost)
		}
		lost = 0
	}
	if m.byteLevel && m.prefix == "" && m.suffix == "" && m.unk < 0 {
		for i := range len(w) {
			if id := m.byteID[w[i]]; id >= 0 {
				add(id, 1)
			} else {
				lost++
			}
		}
	} else {
		waiting := int32(0) // bytes of unknown characters not added yet
		flush := func() {
			if waiting > 0 {
				add(m.unk, waiting)
				waiting = 0
			}
		}
		for i, n := 0, 1; i < len(w); i += n {
			var s string
			if m.byteLevel {
				s = string(byteRunes[w[i]])
			} else {
				_, n = utf8.DecodeRuneInString(w[i:])
				s = w[i : i+n]
			}
			if i > 0 {
				s = m.prefix + s
			}
			if i+n == len(w) {
				s += m.suffix
			}
			if id, ok := m.vocab[s]; ok {
				flush()
				add(id, int32(n))
				continue
			}
			if m.byteFallback && hasBytes(&m.byteID, s) {
				for j := range len(s) {
					add(m.byteID[s[j]], 1)
				}
				continue
			}
			if m.unk < 0 {
				lost += int32(n)
				continue
			}
			if !m.fuseUnk {
				flush()
			}
			waiting += int32(n)
		}
		flush()
	}
	if n := len(c.size); n > 0 {
		c.size[n-1] += lost
	}
}

// hasBytes reports whether each byte of s has a token.
func hasBytes(byteID *[256]int32, s string) bool {
	for i := range len(s) {
		if byteID[s[i]] < 0 {
			return false
		}
	}
	return true
}

// joins are the pairs of neighbouring characters over which some merge leads. A text may be cut between any others
// and its parts merged each on its own: no merge ever spans the cut, so neither side sees the other.
type joins struct {
	near [joinSpace + 1][joinSpace + 1]bool // among ASCII and ▁
	far  map[uint64]struct{}
}

const (
	joinSpace = 128 // ▁ in near
	metaspace = '▁'
)

func nearIndex(r rune) (int, bool) {
	if r < utf8.RuneSelf {
		return int(r), true
	}
	return joinSpace, r == metaspace
}

func (j *joins) may(a, b rune) bool {
	if x, ok := nearIndex(a); ok {
		if y, ok := nearIndex(b); ok {
			return j.near[x][y]
		}
	}
	_, ok := j.far[pairKey(a, b)]
	return ok
}

func (j *joins) put(a, b rune) {
	x, okX := nearIndex(a)
	y, okY := nearIndex(b)
	if okX && okY {
		j.near[x][y] = true
		return
	}
	j.far[pairKey(a, b)] = struct{}{}
}

// findJoins sets m.joins, given the two sides of each merge. It needs that every character is known or falls back to
// bytes that no merge takes up: then symbols begin and end with the characters of the text.
func (m *bpe) findJoins(left, right []string) {
	if m.byteLevel || !m.byteFallback || m.prefix != "" || m.suffix != "" {
		return
	}
	bytes := map[string]bool{}
	for b := range 256 {
		if m.byteID[b] < 0 {
			return
		}
		bytes[byteToken(b)] = true
	}
	j := &joins{far: map[uint64]struct{}{}}
	for i := range left {
		if bytes[left[i]] || bytes[right[i]] || left[i] == "" || right[i] == "" {
			return
		}
		a, _ := utf8.DecodeLastRuneInString(left[i])
		b, _ := utf8.DecodeRuneInString(right[i])
		j.put(a, b)
	}
	m.joins = j
}

// byteToken is the name of the token that stands for a byte.
func byteToken(b int) string {
	const hex = "0123456789ABCDEF"
	return "<0x" + string(hex[b>>4]) + string(hex[b&15]) + ">"
}
