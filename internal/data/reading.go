package data

import (
	"io"

	"longlora/internal/data/datafile"
	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
	"longlora/internal/par"
)

// reading goes through the files and sends batches.
type reading struct {
	s    *source
	b    *batch
	send func(*batch) bool
	stop bool
}

// run reads all files from a place on; what ends it early travels in the last batch.
func (r *reading) run(from place) {
	for i := from.File; i < len(r.s.files) && !r.stop; i++ {
		at := place{File: i}
		if i == from.File {
			at = from
		}
		if err := r.guarded(i, at); err != nil {
			r.b.err = err
			r.flush()
			return
		}
	}
	if !r.stop {
		r.flush()
	}
}

// guarded reads a file; a panic is an error, for who waits for the batches.
func (r *reading) guarded(i int, from place) (err error) {
	defer func() {
		if p := par.Recovered(recover()); p != nil {
			err = p
		}
	}()
	return r.file(i, from)
}

// flush sends the batch.
func (r *reading) flush() {
	r.stop = !r.send(r.b)
	r.b = &batch{after: r.b.after}
}

// add puts a record into the batch and sends it when it is full.
func (r *reading) add(it item, size int, after place) {
	r.b.items = append(r.b.items, it)
	r.b.size += size
	r.b.after = after
	if r.b.size >= batchBytes || len(r.b.items) >= batchItems {
		r.flush()
	}
}

// file reads one file, passing over what was read before.
func (r *reading) file(i int, from place) error {
	k, _ := datafile.KindOf(r.s.files[i])
	if k == datafile.Unknown {
		k = datafile.Text // asked for by --format text
	}
	if k == datafile.Text && from.Record > 0 {
		return nil
	}
	x, err := r.s.open(r.s.files[i])
	if err != nil {
		if r.s.opt.SkipBad && k == datafile.Text {
			r.add(item{kind: k, file: i, bad: err}, 0, place{File: i, Record: 1})
			return nil
		}
		return err
	}
	defer x.Close()
	defer r.s.replaced.add(x)
	switch k {
	case datafile.Text:
		err = r.text(x, i, from.Offset)
	case datafile.Parquet, datafile.Delimited, datafile.Arrow:
		err = r.rows(x, i, from, k)
	default:
		err = r.json(x, i, from, k)
	}
	if e := x.Unchanged(); e != nil { // the cause of whatever else is wrong
		return e
	}
	return err
}

// text reads a text file from a byte on. It is one document.
func (r *reading) text(x *datafile.File, i int, offset int64) error {
	p := r.newParts(item{kind: datafile.Text, file: i, number: 1}, offset,
		func(n int64) place { return place{File: i, Offset: n} })
	buf := make([]byte, 1<<16)
	for {
		n, err := x.Read(buf)
		if e := p.add(buf[:n]); e != nil {
			if e == record.ErrLong {
				p.drop(e, place{File: i, Record: 1})
			}
			return nil
		}
		if err == io.EOF {
			p.end(place{File: i, Record: 1})
			return nil
		}
		if err != nil {
			return x.Fault(err)
		}
	}
}

// json reads the lines or objects of a file.
func (r *reading) json(x *datafile.File, i int, from place, k datafile.Kind) error {
	o := r.s.opt
	most := o.recordLimit()
	if r.s.format == Text {
		most = min(most, longRecord)
	}
	rs, err := jsonfile.NewRecords(x, k == datafile.Lines, most)
	if err != nil {
		return x.Fault(err)
	}
	for n := 1; !r.stop; n++ {
		lo := len(r.b.buf)
		buf, line, bad, err := rs.Next(r.b.buf)
		it := item{kind: k, file: i, line: line, number: n, lo: lo, hi: len(buf), bad: bad}
		r.b.buf = buf
		switch {
		case err == io.EOF && n == 1:
			return r.s.none(x.Path)
		case err == io.EOF:
			return nil
		case err != nil:
			return x.Fault(err)
		case bad != record.ErrLong && n <= from.Record:
			r.b.buf = buf[:lo]
			continue
		case bad == record.ErrLong && r.s.format == Text && n > from.Record:
			offset := int64(0)
			if n == from.Record+1 {
				offset = from.Offset
			}
			if err := r.long(rs, it, offset); err != nil {
				return x.Fault(err)
			}
			continue
		case bad == record.ErrLong:
			if err := rs.Skip(); err != nil {
				return x.Fault(err)
			}
		}
		r.add(it, it.hi-lo, place{File: i, Record: n})
	}
	return nil
}
