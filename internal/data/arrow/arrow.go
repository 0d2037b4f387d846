// Package arrow reads Arrow files: the stream format, which Hugging Face's datasets writes, and the file format,
// Feather version 2 (https://arrow.apache.org/docs/format/Columnar.html). It reads the columns of the types that text
// and conversations have, a window at a time, and allocates nothing that a file merely asks for.
package arrow

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"longlora/internal/data/datafile"
	"longlora/internal/data/record"
)

const (
	magic    = "ARROW1"
	version4 = 3 // versions as files number them, from 0
	version5 = 4

	// what a message holds
	schemaMessage     = 1
	dictionaryMessage = 2
	batchMessage      = 3

	maxMeta      = 64 << 20 // bytes of a message's description
	maxHeld      = 64 << 20 // bytes of all values that are held, at most
	bufferWindow = 64 << 10 // bytes of a buffer that are held
)

// wholeBuffer is how many bytes of a compressed buffer, or one of a dictionary, are held.
var wholeBuffer = int64(8 << 20)

// rows gives the rows of an Arrow file in either format.
type rows struct {
	record.Whole
	valueReader
	x      *datafile.File
	r      *datafile.Anywhere
	most   int // bytes that a row may have
	fields []*field
	wanted []*field // of them
	names  []string

	at      int64   // of the next message in a stream
	batches []int64 // where they lie, in the file format
	inFile  bool

	columnsOf []*column // of the batch, nil for columns that are not wanted
	temp      spool     // its buffers that were unpacked
	kept      spool     // those of dictionaries
	i, n      int64     // the next row of the batch, and how many it has
	row       int
}

// New gives the rows of an Arrow file, of which each is held whole: one of more than a.Most bytes is record.ErrLong. It
// reads the schema, and in the file format the dictionaries; an error is the file's, or that a wanted column has a type
// that is not read. x must stay open until the rows are closed.
func New(x *datafile.File, a record.Want) (_ record.Rows, err error) {
	r := &rows{x: x, most: a.Most, valueReader: valueReader{watch: &x.Watch, dicts: map[int64][]*column{}}}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.r, err = x.Anywhere(); err != nil {
		return nil, err
	}
	if err := r.open(a.Columns); err != nil {
		return nil, fault(err)
	}
	return r, nil
}

// fault says of an error that it is the file's.
func fault(err error) error {
	if err == nil || err == record.ErrLong || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("the Arrow file cannot be read: %w", err)
}

func (r *rows) open(want []string) error {
	head := make([]byte, min(r.r.Size, 8))
	if _, err := r.r.ReadAt(head, 0); err != nil {
		return record.CutOff(err)
	}
	var schema flatTable
	var dicts []int64
	version := 0
	if r.inFile = bytes.HasPrefix(head, []byte(magic)); r.inFile {
		footer, err := r.footer()
		if err != nil {
			return err
		}
		version, schema = footer.short(0, 0), footer.table(1)
		dicts, r.batches = blocks(footer, 2), blocks(footer, 3)
		if footer.f.err != nil {
			return footer.f.err
		}
		if r.joined(footer) {
			return datafile.ErrJoined
		}
	} else {
		if bytes.HasPrefix(head, []byte("FEA1")) {
			return errors.New("it is a Feather file of version 1, which is not read; write it anew with " +
				"pyarrow.feather.write_feather")
		}
		m, err := r.message(0)
		if err == io.EOF || err == nil && m.kind != schemaMessage {
			return errors.New("it does not begin with a schema; is it an Arrow file?")
		}
		if err != nil {
			return err
		}
		version, schema, r.at = m.version, m.head, m.next
	}
	if version != version4 && version != version5 {
		return fmt.Errorf("its metadata are of version %d, and 4 and 5 are read; write it anew", version+1)
	}
	if err := r.setFields(schema, version, want); err != nil {
		return err
	}
	for _, at := range dicts {
		m, err := r.message(at)
		if err == nil && m.kind != dictionaryMessage {
			err = errFlat
		}
		if err == nil {
			err = r.dictionary(m)
		}
		if err != nil {
			return record.CutOff(err)
		}
	}
	return nil
}

// setFields reads the schema; what is wanted must be readable.
func (r *rows) setFields(schema flatTable, version int, want []string) (err error) {
	if r.fields, err = readSchema(schema, version); err != nil {
		return err
	}
	for _, f := range r.fields {
		wanted := slices.Contains(want, f.name)
		if wanted {
			if slices.Contains(r.names, f.name) {
				return fmt.Errorf("two of its columns are named %q", f.name)
			}
			if err := f.readable(f.name); err != nil {
				return err
			}
			r.wanted = append(r.wanted, f)
		}
		r.names = append(r.names, f.name)
	}
	return nil
}

// window is how much of each buffer is held, so that all of the wanted columns' hold little together.
func (r *rows) window(most int64) int64 {
	const buffers, least = 3, 512
	n := 1
	for _, f := range r.wanted {
		n += f.count()
	}
	return max(least, min(most, maxHeld/int64(buffers*n)))
}

// dictionary takes up values that columns name by number: new ones, or more of them.
func (r *rows) dictionary(m message) error {
	id := m.head.long(0)
	f := dictionary(r.wanted, id)
	if f == nil {
		return nil
	}
	t := batch{r: r, m: m, t: m.head.table(1), window: r.window(wholeBuffer), temp: &r.kept}
	if err := t.open(); err != nil {
		return err
	}
	c, err := t.column(f, true)
	if err != nil {
		return err
	}
	if m.head.byte(2) == 0 {
		r.dicts[id] = nil
	}
	r.dicts[id] = append(r.dicts[id], c)
	return nil
}

// batch goes to the next batch of rows.
func (r *rows) batch() error {
	r.temp.clear()
	r.columnsOf, r.i, r.n = nil, 0, 0
	if r.inFile {
		if len(r.batches) == 0 {
			return io.EOF
		}
		r.at, r.batches = r.batches[0], r.batches[1:]
	}
	m, err := r.message(r.at)
	if err == io.EOF && r.inFile {
		err = errFlat
	}
	if err != nil {
		return err
	}
	r.at = m.next
	switch {
	case m.kind == dictionaryMessage && !r.inFile:
		return r.dictionary(m)
	case m.kind != batchMessage:
		return fmt.Errorf("a part of the kind %d where rows are wanted", m.kind)
	}
	b := batch{r: r, m: m, t: m.head, window: r.window(bufferWindow), temp: &r.temp}
	if err := b.open(); err != nil {
		return err
	}
	for _, f := range r.fields {
		c, err := b.column(f, slices.Contains(r.wanted, f))
		if err != nil {
			return err
		}
		if c != nil && c.n != b.rows {
			return errFlat
		}
		r.columnsOf = append(r.columnsOf, c)
	}
	r.n = b.rows
	return nil
}

func (r *rows) Columns() []string { return r.names }

// Next is the next row; row counts from 1.
func (r *rows) Next() (m map[string]any, row int, bad, err error) {
	r.row++
	r.watch.AtRow(r.row)
	for r.i == r.n {
		if err := r.batch(); err != nil {
			if err == io.EOF {
				return nil, r.row, nil, err
			}
			return nil, r.row, nil, fault(err)
		}
	}
	i := r.i
	r.i++
	m, r.left = map[string]any{}, r.most
	r.values = someValues + datafile.MaxGrowth*int(min(r.x.Size(), math.MaxInt32))
	for k, c := range r.columnsOf {
		if c == nil {
			continue
		}
		v, err := r.value(c, i, 0)
		if err == record.ErrLong {
			return nil, r.row, err, nil
		}
		if err != nil {
			return nil, r.row, nil, fault(fmt.Errorf("row %d, %q: %w", r.row, r.names[k], err))
		}
		m[r.names[k]] = v
	}
	return m, r.row, nil, nil
}

func (r *rows) Close() {
	r.temp.close()
	r.kept.close()
	if r.r != nil {
		r.r.Close()
	}
}
