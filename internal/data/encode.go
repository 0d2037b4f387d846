package data

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"longlora/internal/data/example"
	"longlora/internal/data/store"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/tokenizer"
)

// Encoder turns text into ids; package tokenizer has it.
type Encoder interface {
	Encode(text string) ([]int32, error)
	// EncodeSpans also gives the bytes of the text that each token stands for.
	EncodeSpans(text string) ([]int32, []tokenizer.Span, error)
	Decode(ids []int32) (string, error)
	BOS() (int32, bool)
	EOS() (int32, bool)
	ID(token string) (int32, bool)
	Size() int // the highest id plus one
	// Describe names a token for a message: its id, its text and its file.
	Describe(id int32) string
	// Configured is a hash of the tokens that other files add to the tokenizer's own, "" where they add none.
	Configured() string
	// Notes are what a user should know of how the tokenizer's files were read.
	Notes() []string
	// Parts says whether text may be encoded part by part, cut at a space between ASCII letters, and whether that
	// space is then left out.
	Parts() (drop, ok bool)
}

// encoder writes documents as ids.
type encoder struct {
	enc       Encoder
	vocab     int
	noSpecial bool
	template  *template.Template // of examples
	parts     bool               // long texts are encoded part by part
	drop      bool               // without the space between parts
}

// partBytes is from where on text is encoded part by part.
var partBytes = 1 << 20

// text appends a document's ids: BOS where the tokenizer adds it, the text, EOS.
func (e *encoder) text(out []int32, s string) ([]int32, error) { return e.part(out, s, true, true) }

// part appends the ids of a part of a document, perhaps the first, perhaps the last.
func (e *encoder) part(out []int32, s string, first, last bool) ([]int32, error) {
	if id, ok := e.enc.BOS(); ok && first && !e.noSpecial {
		out = append(out, id)
	}
	from := len(out)
	if len(s) > partBytes {
		out = slices.Grow(out, len(s)/3)
	}
	for size := partBytes; len(s) >= size; { // in little memory
		at, drop := cutAt(e, s[:size])
		if at < 0 {
			size *= 2
			continue
		}
		ids, err := e.enc.Encode(s[:at])
		if err != nil {
			return out, err
		}
		out = append(out, ids...)
		s, size = s[at+drop:], partBytes
	}
	ids, err := e.enc.Encode(s)
	if err != nil {
		return out, err
	}
	out = append(out, ids...)
	if err := e.check(out[from:]); err != nil {
		return out, err
	}
	if id, ok := e.enc.EOS(); ok && last && !e.noSpecial {
		out = append(out, id)
	}
	return out, nil
}

// wordBytes is how long a text without a place for a cut may be; there it is cut all the same.
var wordBytes = 8 << 20

// cutAt is where a text is cut that goes on behind what is given, -1 where nowhere. The rest begins drop bytes behind.
func cutAt[T string | []byte](e *encoder, s T) (at, drop int) {
	if !e.parts {
		return -1, 0
	}
	if at = lastCut(s); at >= 0 && e.drop {
		return at, 1
	}
	if at < 0 && len(s) >= wordBytes && !e.drop { // a tokenizer that drops the space would write one
		at = len(s) - 1
		for len(s)-at < utf8.UTFMax && s[at]&0xc0 == 0x80 {
			at--
		}
	}
	return at, 0
}

// lastCut is the last place where a text may be cut, a space between ASCII letters; -1 without any.
func lastCut[T string | []byte](s T) int {
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	for i := len(s) - 2; i > 0; i-- {
		if s[i] == ' ' && letter(s[i-1]) && letter(s[i+1]) {
			return i
		}
	}
	return -1
}

// check refuses ids that the model has no row for.
func (e *encoder) check(ids []int32) error {
	for _, id := range ids {
		if int(id) >= e.vocab {
			return e.noRow(id)
		}
	}
	return nil
}

func (e *encoder) noRow(id int32) error {
	return fmt.Errorf("%s has no row in the model, whose vocab_size is %d; take it out of the text, or use a model with "+
		"that row", e.enc.Describe(id), e.vocab)
}

// checkEnds refuses ids without a row that every document would have: of text its end, of an example only its
// beginning, for a template says how it ends.
func (e *encoder) checkEnds(text bool) error {
	if e.noSpecial {
		return nil
	}
	if id, ok := e.enc.BOS(); ok && int(id) >= e.vocab {
		return errs.Dataf("the token that begins each document: %s has no row in the model, whose vocab_size is %d; use the "+
			"model's own tokenizer", e.enc.Describe(id), e.vocab)
	}
	if id, ok := e.enc.EOS(); ok && text && int(id) >= e.vocab {
		return errs.Dataf("the token that ends each document: %s has no row in the model, whose vocab_size is %d; correct "+
			"eos_token in tokenizer_config.json, or use a model with that row", e.enc.Describe(id), e.vocab)
	}
	return nil
}

// example appends an example's ids: rendered whole, then encoded whole, with a BOS in front where the tokenizer
// adds one and the text does not begin with it. A token is scored when any of its bytes lies in an answer.
func (e *encoder) example(out []int32, x *example.Example) ([]int32, store.Document, error) {
	var r template.Rendering
	var d store.Document
	if err := e.template.Write(&r, x); err != nil {
		return out, d, err
	}
	ids, at, err := e.enc.EncodeSpans(string(r.Text))
	if err == nil {
		err = e.check(ids)
	}
	if err != nil {
		return out, d, err
	}
	shift := 0
	if id, ok := e.enc.BOS(); ok && !e.noSpecial && (len(ids) == 0 || ids[0] != id) {
		out, shift = append(out, id), 1
	}
	out = append(out, ids...)
	d.N = len(ids) + shift
	t := 0
	for _, a := range r.Answers {
		for t < len(ids) && at[t].End <= a.Lo {
			t++
		}
		lo := t
		for t < len(ids) && at[t].Start < a.Hi {
			t++
		}
		if n := len(d.Answers); n > 0 && d.Answers[n-1].Hi >= lo+shift { // a token of both
			d.Answers[n-1].Hi = t + shift
		} else if t > lo {
			d.Answers = append(d.Answers, store.Span{Lo: lo + shift, Hi: t + shift})
		}
	}
	for _, p := range r.Prompts {
		if s := within(at, p); s.Hi-s.Lo > d.Trim.Hi-d.Trim.Lo {
			d.Trim = store.Span{Lo: s.Lo + shift, Hi: s.Hi + shift}
		}
	}
	return out, d, nil
}

// within are the tokens that lie wholly in a stretch of bytes.
func within(at []tokenizer.Span, p template.Span) store.Span {
	lo := 0
	for lo < len(at) && at[lo].Start < p.Lo {
		lo++
	}
	hi := lo
	for hi < len(at) && at[hi].End <= p.Hi {
		hi++
	}
	return store.Span{Lo: lo, Hi: hi}
}

// fatal reports whether a fault is not one of a document, so that --skip-bad does not pass over it.
func fatal(err error) bool {
	var e *errs.Error
	return errors.As(err, &e)
}
