package data

import (
	"errors"
	"fmt"

	"longlora/internal/errs"
	"longlora/internal/tokenizer"
)

// Encoder turns text into ids; package tokenizer has it.
type Encoder interface {
	Encode(text string) []int32
	// EncodeSpans also gives the bytes of the text that each token stands for.
	EncodeSpans(text string) ([]int32, []tokenizer.Span)
	Decode(ids []int32) string
	BOS() (int32, bool)
	EOS() (int32, bool)
	ID(token string) (int32, bool)
	Size() int // the highest id plus one
}

// document is an encoded one.
type document struct {
	n       int    // tokens
	answers []span // tokens that are scored; of examples
	trim    span   // the tokens of the prompt's longest text; of examples
	file    int    // where it came from
	line    int
}

// encoder writes documents as ids.
type encoder struct {
	enc       Encoder
	vocab     int
	noSpecial bool
	template  *template // of examples
}

// text appends a document's ids: BOS where the tokenizer adds it, the text, EOS.
func (e *encoder) text(out []int32, s string) ([]int32, error) {
	if id, ok := e.enc.BOS(); ok && !e.noSpecial {
		out = append(out, id)
	}
	from := len(out)
	out = append(out, e.enc.Encode(s)...)
	if err := e.check(out[from:]); err != nil {
		return out, err
	}
	if id, ok := e.enc.EOS(); ok && !e.noSpecial {
		out = append(out, id)
	}
	return out, nil
}

// check refuses ids outside the model's vocabulary.
func (e *encoder) check(ids []int32) error {
	for _, id := range ids {
		if int(id) >= e.vocab {
			return fmt.Errorf("the tokenizer gives token %d, outside the model's vocabulary of %d", id, e.vocab)
		}
	}
	return nil
}

// example appends an example's ids: rendered whole, then encoded whole, with a BOS in front where the tokenizer
// adds one and the text does not begin with it. A token is scored when any of its bytes lies in an answer.
func (e *encoder) example(out []int32, x *example) ([]int32, document, error) {
	var r rendering
	var d document
	if err := e.template.render(&r, x); err != nil {
		return out, d, err
	}
	ids, at := e.enc.EncodeSpans(string(r.b))
	if err := e.check(ids); err != nil {
		return out, d, err
	}
	shift := 0
	if id, ok := e.enc.BOS(); ok && !e.noSpecial && (len(ids) == 0 || ids[0] != id) {
		out, shift = append(out, id), 1
	}
	out = append(out, ids...)
	d.n = len(ids) + shift
	t := 0
	for _, a := range r.answers {
		for t < len(ids) && at[t].End <= a.lo {
			t++
		}
		lo := t
		for t < len(ids) && at[t].Start < a.hi {
			t++
		}
		if n := len(d.answers); n > 0 && d.answers[n-1].hi >= lo+shift { // a token of both
			d.answers[n-1].hi = t + shift
		} else if t > lo {
			d.answers = append(d.answers, span{lo + shift, t + shift})
		}
	}
	for _, p := range r.prompts {
		if s := within(at, p); s.hi-s.lo > d.trim.hi-d.trim.lo {
			d.trim = span{s.lo + shift, s.hi + shift}
		}
	}
	return out, d, nil
}

// within are the tokens that lie wholly in a stretch of bytes.
func within(at []tokenizer.Span, p span) span {
	lo := 0
	for lo < len(at) && at[lo].Start < p.lo {
		lo++
	}
	hi := lo
	for hi < len(at) && at[hi].End <= p.hi {
		hi++
	}
	return span{lo, hi}
}

// fatal reports whether a fault is not one of a document, so that --skip-bad does not pass over it.
func fatal(err error) bool {
	var e *errs.Error
	return errors.As(err, &e)
}
