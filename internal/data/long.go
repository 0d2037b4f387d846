package data

import (
	"errors"
	"slices"

	"longlora/internal/data/example"
	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// maxRecord is the longest line or JSON object that is read.
var maxRecord = 1 << 30

// longRecord is from where on a record is not held whole if it can be helped.
var longRecord = 4 << 20

// parts sends one document's text as items of about partBytes, cut where the tokenizer allows it, so that it is never
// held whole.
type parts struct {
	r     *reading
	it    item                     // what the items have in common
	after func(offset int64) place // where reading goes on after so many bytes of the text
	sent  int64                    // bytes of the text in items that were sent
	pass  int64                    // bytes at the text's beginning that an earlier run sent
	lo    int                      // where the next item begins in the batch
	size  int                      // bytes from which on it is cut
}

// newParts begins a document of which offset bytes were sent before.
func (r *reading) newParts(it item, offset int64, after func(int64) place) *parts {
	it.text, it.later, it.bad = true, offset > 0, nil
	return &parts{r: r, it: it, after: after, sent: offset, pass: offset, lo: len(r.b.buf), size: partBytes}
}

// add appends to the text. Where it is cut depends on the text alone, not on the pieces in which it comes.
func (p *parts) add(b []byte) error {
	n := int(min(p.pass, int64(len(b))))
	p.pass -= int64(n)
	for b = b[n:]; len(b) > 0; {
		n := min(len(b), p.lo+p.size-len(p.r.b.buf))
		p.r.b.buf = append(p.r.b.buf, b[:n]...)
		b = b[n:]
		if len(p.r.b.buf)-p.lo < p.size {
			continue
		}
		if err := p.cut(); err != nil {
			return err
		}
		if p.r.stop {
			return record.ErrStopped
		}
	}
	return nil
}

// cut sends what may be cut off.
func (p *parts) cut() error {
	b := p.r.b
	text := b.buf[p.lo:]
	at, drop := cutAt(&p.r.s.encoder, text)
	if at < 0 {
		if p.size *= 2; len(text) > p.r.s.opt.recordLimit() {
			return record.ErrLong
		}
		return nil
	}
	rest := slices.Clone(text[at+drop:])
	b.buf = b.buf[:p.lo+at]
	p.sent += int64(at + drop)
	it := p.it
	it.lo, it.hi, it.more = p.lo, len(b.buf), true
	p.r.add(it, at, p.after(p.sent))
	if len(p.r.b.items) > 0 {
		p.r.flush()
	}
	p.it.later, p.lo, p.size = true, len(p.r.b.buf), partBytes
	p.r.b.buf = append(p.r.b.buf, rest...)
	return nil
}

// end sends the rest.
func (p *parts) end(after place) {
	p.it.lo, p.it.hi = p.lo, len(p.r.b.buf)
	p.r.add(p.it, p.it.hi-p.it.lo, after)
}

// drop takes the document back, in which something is wrong.
func (p *parts) drop(bad error, after place) {
	p.r.b.buf = p.r.b.buf[:p.lo]
	p.it.bad = bad
	p.r.add(p.it, 0, after)
}

// finish ends the document; bad is what is wrong with it, err why there is no going on.
func (p *parts) finish(bad, err error) error {
	after := place{File: p.it.file, Record: p.it.number}
	switch {
	case errors.Is(err, record.ErrStopped) || errors.Is(bad, record.ErrStopped):
		return nil
	case err != nil:
		return err
	case bad != nil:
		p.drop(bad, after)
	default:
		p.end(after)
	}
	return nil
}

// long goes through a record that is not held, whose text field is the document. offset bytes of that were sent before.
func (r *reading) long(rs jsonfile.Records, it item, offset int64) error {
	p := r.newParts(it, offset, func(n int64) place { return place{it.file, it.number - 1, n} })
	field := r.s.opt.TextField
	found, names, bad, err := jsonfile.StreamText(rs, field, p.add)
	if err == nil && bad == nil && !found {
		_, bad = example.DocumentText(nil, names, field)
	}
	return p.finish(bad, err)
}

// recordShare is the part of the host memory that one record may have which is held whole: it is held as it is read, as
// its text, and as its tokens.
const recordShare = 16

// recordLimit is the longest record that is held whole, in bytes.
func (o *Options) recordLimit() int {
	if o.HostMem > 0 {
		return int(min(int64(maxRecord), o.HostMem/recordShare))
	}
	return maxRecord
}

// tooLong is the fault of a record that passes the limit.
func (o *Options) tooLong(where string) error {
	limit := o.recordLimit()
	if limit < maxRecord {
		return errs.NoFitf("%s: longer than %d bytes, what a record may have of %d bytes of host memory (1/%d); divide it, "+
			"give a larger %s, or pass %s",
			where, limit, o.HostMem, recordShare, errs.Option("host-mem"), errs.Option("skip-bad"))
	}
	return errs.Dataf("%s: longer than 1 GiB; divide it into several documents, or pass %s", where,
		errs.Option("skip-bad"))
}
