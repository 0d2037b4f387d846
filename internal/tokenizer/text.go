package tokenizer

import (
	"fmt"

	"longlora/internal/tokenizer/onig"
)

// text is a stretch of text on its way to becoming tokens. It remembers which bytes of the input it came from.
type text struct {
	s     string
	base  int    // where it begins in the input
	from  []Span // the input's bytes that each byte of s stands for; nil: byte i of s is the input's byte base+i
	bound *bound
}

// bound keeps rewriting from making very much of a little: ten normalizers that each write ten letters for one make
// 10^10 bytes of one. Real ones write at most 13 bytes for one (NFKD of U+FDFA, its spaces then spelled as ▁). It also
// keeps a text's patterns and added tokens from taking more steps than its length warrants.
type bound struct {
	most  int // bytes that one rewriting may give
	room  int // bytes that all of them may still write
	steps int // of matching that are left
}

const (
	growth     = 16  // times the input's length, for most
	growthAll  = 256 // for room
	growthFrom = 1 << 16
)

func newBound(length int) *bound {
	return &bound{most: growthFrom + growth*length, room: growthFrom + growthAll*length, steps: onig.Steps(length)}
}

var errGrows = fmt.Errorf("normalizer and pre_tokenizer write more than %d times as much as the text has; take out "+
	"the parts that lengthen it", growth)

// Span is the part text[Start:End] of the encoded text, in bytes, that a token stands for.
type Span struct{ Start, End int }

// cut is the part from i to j.
func (t text) cut(i, j int) text {
	c := text{s: t.s[i:j], base: t.base + i, bound: t.bound}
	if t.from != nil {
		c.from = t.from[i:j]
	}
	return c
}

// span is the input's part that the bytes from i to j stand for.
func (t text) span(i, j int) Span {
	j = min(j, len(t.s))
	if t.from == nil || i >= j {
		return Span{t.base + min(i, j), t.base + j}
	}
	return Span{t.from[i].Start, t.from[j-1].End}
}

// rewriter builds a changed text.
type rewriter struct {
	src   text
	out   []byte
	from  []Span
	track bool // the origin of bytes is wanted
	full  bool // the bound is reached, and nothing more is written
}

func newRewriter(src text, track bool) *rewriter {
	return &rewriter{src: src, track: track, out: make([]byte, 0, len(src.s)+len(src.s)/4+8)}
}

// fits says whether n more bytes may be written.
func (w *rewriter) fits(n int) bool {
	if b := w.src.bound; len(w.out)+n > min(b.most, b.room) {
		w.full = true
	}
	return !w.full
}

// keep takes over the source's bytes from i to j.
func (w *rewriter) keep(i, j int) {
	if !w.fits(j - i) {
		return
	}
	w.out = append(w.out, w.src.s[i:j]...)
	if w.track {
		for ; i < j; i++ {
			w.from = append(w.from, w.src.span(i, i+1))
		}
	}
}

// put writes s, which stands for the source's bytes from i to j.
func (w *rewriter) put(s string, i, j int) {
	if !w.fits(len(s)) {
		return
	}
	w.out = append(w.out, s...)
	if w.track {
		sp := w.src.span(i, j)
		for range len(s) {
			w.from = append(w.from, sp)
		}
	}
}

func (w *rewriter) text() (text, error) {
	if w.full {
		return text{}, errGrows
	}
	w.src.bound.room -= len(w.out)
	t := text{s: string(w.out), base: w.src.base, from: w.from, bound: w.src.bound}
	if w.track && t.from == nil {
		t.from = []Span{}
	}
	return t, nil
}
