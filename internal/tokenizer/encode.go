package tokenizer

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"unicode/utf8"

	"longlora/internal/errs"
	"longlora/internal/par"
)

// parallelFrom is the length in bytes from which one text is encoded by several goroutines.
const parallelFrom = 1 << 20

// Encode returns the ids of text; nothing is added in front or behind. Special tokens written out in it are parsed.
// Invalid UTF-8 is read as Python's errors="replace" reads it. It fails, as a data error that names the tokenizer's
// file, only where that file asks for more memory than a text may take (see bound).
func (t *Tokenizer) Encode(text string) ([]int32, error) {
	e := &encoder{t: t, cache: t.takeCache()}
	defer t.putCache(e.cache)
	text = ReplaceInvalid(text)
	e.out.ids = make([]int32, 0, len(text)/3+4)
	if err := e.encode(text); err != nil {
		return nil, errs.Dataf("%s: %w", t.path, err)
	}
	return e.out.ids, nil
}

// EncodeSpans is Encode with the span of each token. text must be valid UTF-8 (ReplaceInvalid makes it so), so that
// the spans are of the text that the caller has. White space belongs to the token that holds it. A character cut
// over several tokens is shared out by bytes, unless a normalizer wrote it: then each has the span of what it was
// written for. A space that the tokenizer puts in front of a text has the span of the first character, as in the
// tokenizers library; so spans may overlap, but neither Start nor End ever falls from one token to the next
// within what lies between two added tokens.
func (t *Tokenizer) EncodeSpans(text string) ([]int32, []Span, error) {
	e := &encoder{t: t, cache: t.takeCache()}
	defer t.putCache(e.cache)
	e.out.track = true
	if err := e.encode(text); err != nil {
		return nil, nil, errs.Dataf("%s: %w", t.path, err)
	}
	return e.out.ids, e.spans, nil
}

// encoder is the state of encoding one text.
type encoder struct {
	t     *Tokenizer
	cache *wordCache
	out   tokens
	spans []Span // with out.track
}

// encode goes the way of the tokenizers library: added tokens that stand for themselves are cut out of the input,
// what lies between is normalized, added tokens that are matched after that are cut out, the rest is cut into words.
func (e *encoder) encode(input string) error {
	whole := text{s: input, bound: newBound(len(input))}
	token := func(t text) func(id int32, i, j int) error {
		return func(id int32, i, j int) error {
			e.added(id, t, i, j)
			return nil
		}
	}
	return e.t.raw.scan(whole, token(whole), func(i, j int) error {
		part, err := rewriteAll(whole.cut(i, j), e.t.normalizers, e.out.track)
		if err != nil {
			return err
		}
		return e.t.normal.scan(part, token(part), func(i, j int) error { return e.part(part.cut(i, j)) })
	})
}

func (e *encoder) added(id int32, t text, i, j int) {
	e.out.ids = append(e.out.ids, id)
	if e.out.track {
		e.spans = append(e.spans, t.span(i, j))
	}
}

// part encodes what lies between added tokens, a long one by several goroutines.
func (e *encoder) part(t text) error {
	k := 0
	for ; k < len(e.t.steps) && e.t.steps[k].rewrite != nil; k++ {
		var err error
		if t, err = e.t.steps[k].rewrite(t, e.out.track); err != nil {
			return err
		}
	}
	workers := runtime.GOMAXPROCS(0)
	if len(t.s) < e.t.longFrom || workers == 1 || e.t.cuts == nil {
		return e.pieces(t, k)
	}
	chunks := cutUp(t, e.t.longFrom/4, e.t.cuts)
	parts, faults := make([]encoder, len(chunks)), make([]error, len(chunks))
	var group par.Group
	for w := range workers {
		group.Go(func() {
			c := e.t.takeCache()
			for i := w; i < len(chunks); i += workers {
				parts[i] = encoder{t: e.t, cache: c}
				parts[i].out.track = e.out.track
				chunks[i].bound = newBound(len(chunks[i].s))
				faults[i] = parts[i].pieces(chunks[i], k)
			}
			e.t.putCache(c)
		})
	}
	group.Wait()
	for _, p := range parts {
		e.out.ids, e.spans = append(e.out.ids, p.out.ids...), append(e.spans, p.spans...)
	}
	return cmp.Or(faults...)
}

// pieces runs the steps from k on and encodes the words that come out.
func (e *encoder) pieces(t text, k int) error {
	if t.s == "" {
		return nil
	}
	if k == len(e.t.steps) {
		return e.word(t)
	}
	switch s := e.t.steps[k]; {
	case s.rewrite != nil:
		t, err := s.rewrite(t, e.out.track)
		if err != nil {
			return err
		}
		return e.pieces(t, k+1)
	case s.next != nil:
		for t.s != "" {
			n := s.next(t.s)
			if err := e.pieces(t.cut(0, n), k+1); err != nil {
				return err
			}
			t = t.cut(n, len(t.s))
		}
		return nil
	default:
		var fault error
		err := s.find(t, func(i, j int) {
			if fault == nil {
				fault = e.pieces(t.cut(i, j), k+1)
			}
		})
		if fault != nil {
			return fault
		}
		return err
	}
}

func (e *encoder) word(t text) error {
	if len(t.s) > math.MaxInt32 {
		return fmt.Errorf("a word of %d bytes; at most %d are merged", len(t.s), math.MaxInt32)
	}
	e.out.lens = e.out.lens[:0]
	if err := e.t.model.encodeWord(t.s, e.cache, &e.out); err != nil {
		return err
	}
	if n := len(e.out.lens); n > longWord {
		e.spans = slices.Grow(e.spans, n)
	}
	at := 0
	for _, n := range e.out.lens {
		e.spans = append(e.spans, t.span(at, at+int(n)))
		at += int(n)
	}
	return nil
}

// cutUp cuts a text into parts of about size bytes at places where cut allows it; without such places it stays whole.
func cutUp(t text, size int, cut func(s string, i int) bool) []text {
	var parts []text
	for len(t.s) > size {
		i := size
		for i < len(t.s) && !cut(t.s, i) {
			i++
		}
		if i == len(t.s) {
			break
		}
		parts = append(parts, t.cut(0, i))
		t = t.cut(i, len(t.s))
	}
	return append(parts, t)
}

// beforeWord allows a cut between a letter and a space that a letter follows. The known patterns end a piece there
// wherever it began, and look no further ahead, so the parts encode to what the whole would.
func beforeWord(s string, i int) bool {
	return i+1 < len(s) && s[i] == ' ' && asciiLetter(s[i-1]) && asciiLetter(s[i+1])
}

// beforeMetaspace allows a cut between a letter and a ▁ that a letter follows.
func beforeMetaspace(s string, i int) bool {
	const n = len(string(metaspace))
	return i+n < len(s) && s[i] == string(metaspace)[0] && s[i:i+n] == string(metaspace) && asciiLetter(s[i-1]) &&
		asciiLetter(s[i+n])
}

func asciiLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// findCuts says where a long text may be cut, nil where that is not known.
func (t *Tokenizer) findCuts() func(s string, i int) bool {
	steps := t.steps
	for len(steps) > 0 && steps[0].rewrite != nil {
		steps = steps[1:]
	}
	if len(steps) == 0 {
		m, merges := t.model.(*bpe)
		if merges && m.joins != nil && m.whole == nil {
			j := m.joins
			for a := range rune(utf8.RuneSelf) {
				if j.near[a][joinSpace] {
					return nil
				}
			}
			return beforeMetaspace
		}
		return nil
	}
	words := false
	for _, s := range steps {
		if !s.local {
			return nil
		}
		words = words || s.next != nil
	}
	if !words {
		return nil
	}
	return beforeWord
}
