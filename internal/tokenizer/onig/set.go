package onig

import (
	"slices"
	"sort"
	"unicode"
	"unicode/utf8"
)

// span is the characters from lo to hi.
type span struct{ lo, hi rune }

// set is a set of characters: its spans in order, apart from each other, and those below the end of its bitmap once
// more as bits.
type set struct {
	spans []span
	bits  [mapped / 64]uint64
}

// mapped is where bitmaps end: behind the alphabets of Europe and the Near East, with 256 bytes a set.
const mapped = 0x800

// newSet makes a set of spans in any order.
func newSet(list []span) *set {
	list = slices.Clone(list)
	sort.Slice(list, func(i, j int) bool { return list[i].lo < list[j].lo })
	s := &set{}
	for _, p := range list {
		if n := len(s.spans); n > 0 && p.lo <= s.spans[n-1].hi+1 {
			s.spans[n-1].hi = max(s.spans[n-1].hi, p.hi)
		} else {
			s.spans = append(s.spans, p)
		}
	}
	for _, p := range s.spans {
		for r := p.lo; r <= min(p.hi, mapped-1); r++ {
			s.bits[r/64] |= 1 << (r % 64)
		}
	}
	return s
}

// setOf is the set of a table.
func setOf(tables ...*unicode.RangeTable) *set {
	var list []span
	add := func(lo, hi, stride rune) {
		if stride == 1 {
			list = append(list, span{lo, hi})
			return
		}
		for r := lo; r <= hi; r += stride {
			list = append(list, span{r, r})
		}
	}
	for _, t := range tables {
		for _, r := range t.R16 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
		for _, r := range t.R32 {
			add(rune(r.Lo), rune(r.Hi), rune(r.Stride))
		}
	}
	return newSet(list)
}

func (s *set) has(r rune) bool {
	if r < mapped {
		return s.bits[r/64]&(1<<(r%64)) != 0
	}
	lo, hi := 0, len(s.spans)
	for lo < hi {
		if mid := (lo + hi) / 2; s.spans[mid].hi < r {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(s.spans) && s.spans[lo].lo <= r
}

// next is the length of the first character of s where the set has it, else 0.
func (s *set) next(text string, i int) int {
	if i >= len(text) {
		return 0
	}
	if c := text[i]; c < utf8.RuneSelf {
		if s.bits[c/64]&(1<<(c%64)) != 0 {
			return 1
		}
		return 0
	}
	if r, n := utf8.DecodeRuneInString(text[i:]); s.has(r) {
		return n
	}
	return 0
}

func union(sets ...*set) *set {
	var list []span
	for _, s := range sets {
		list = append(list, s.spans...)
	}
	return newSet(list)
}

func complement(s *set) *set {
	var list []span
	next := rune(0)
	for _, p := range s.spans {
		if next < p.lo {
			list = append(list, span{next, p.lo - 1})
		}
		next = p.hi + 1
	}
	if next <= unicode.MaxRune {
		list = append(list, span{next, unicode.MaxRune})
	}
	return newSet(list)
}

func intersection(a, b *set) *set { return complement(union(complement(a), complement(b))) }
