package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"longlora/internal/data/datafile"
	"longlora/internal/data/record"
)

// Arrow's files are read by our own code (https://arrow.apache.org/docs/format/Columnar.html): a few columns of the
// types that text and conversations have, a window at a time, and no allocation that a file merely asks for.

const (
	arrowMagic = "ARROW1"
	arrowV4    = 3 // versions as files number them, from 0
	arrowV5    = 4

	// what a message holds
	arrowSchemaMessage     = 1
	arrowDictionaryMessage = 2
	arrowBatchMessage      = 3

	maxArrowMeta = 64 << 20 // bytes of a message's description
	arrowHeld    = 64 << 20 // bytes of all values that are held, at most
	arrowWindow  = 64 << 10 // of a buffer
)

// arrowWhole is how many bytes of a compressed buffer, or one of a dictionary, are held.
var arrowWhole = int64(8 << 20)

// arrowRows gives the rows of an Arrow file, in its stream format, which datasets writes, or its file format (Feather
// version 2).
type arrowRows struct {
	record.Whole
	arrowValues
	x      *datafile.File
	r      *datafile.Anywhere
	most   int // bytes that a row may have
	fields []*arrowField
	wanted []*arrowField // of them
	names  []string

	at      int64   // of the next message in a stream
	batches []int64 // where they lie, in the file format
	inFile  bool

	columnsOf []*arrowColumn // of the batch, nil for columns that are not wanted
	temp      spool          // its buffers that were unpacked
	kept      spool          // those of dictionaries
	i, n      int64          // the next row of the batch, and how many it has
	row       int
}

// newArrowRows reads the schema, and in the file format the dictionaries.
func newArrowRows(x *datafile.File, a record.Want) (_ *arrowRows, err error) {
	r := &arrowRows{x: x, most: a.Most, arrowValues: arrowValues{watch: &x.Watch, dicts: map[int64][]*arrowColumn{}}}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.r, err = x.Anywhere(); err != nil {
		return nil, err
	}
	if err := r.open(a.Columns); err != nil {
		return nil, arrowFault(err)
	}
	return r, nil
}

// arrowFault says of an error that it is the file's.
func arrowFault(err error) error {
	if err == nil || err == record.ErrLong || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fmt.Errorf("the Arrow file cannot be read: %w", err)
}

func (r *arrowRows) open(want []string) error {
	head := make([]byte, min(r.r.Size, 8))
	if _, err := r.r.ReadAt(head, 0); err != nil {
		return record.CutOff(err)
	}
	var schema flatTable
	var dicts []int64
	version := 0
	if r.inFile = bytes.HasPrefix(head, []byte(arrowMagic)); r.inFile {
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
		if err == io.EOF || err == nil && m.kind != arrowSchemaMessage {
			return errors.New("it does not begin with a schema; is it an Arrow file?")
		}
		if err != nil {
			return err
		}
		version, schema, r.at = m.version, m.head, m.next
	}
	if version != arrowV4 && version != arrowV5 {
		return fmt.Errorf("its metadata are of version %d, and 4 and 5 are read; write it anew", version+1)
	}
	if err := r.setFields(schema, version, want); err != nil {
		return err
	}
	for _, at := range dicts {
		m, err := r.message(at)
		if err == nil && m.kind != arrowDictionaryMessage {
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
func (r *arrowRows) setFields(schema flatTable, version int, want []string) (err error) {
	if r.fields, err = arrowSchema(schema, version); err != nil {
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
func (r *arrowRows) window(most int64) int64 {
	const buffers, least = 3, 512
	n := 1
	for _, f := range r.wanted {
		n += f.count()
	}
	return max(least, min(most, arrowHeld/int64(buffers*n)))
}

// footer is what stands at the end of the file format.
func (r *arrowRows) footer() (flatTable, error) {
	tail := make([]byte, 4+len(arrowMagic))
	if _, err := r.r.ReadAt(tail, max(0, r.r.Size-int64(len(tail)))); err != nil || string(tail[4:]) != arrowMagic {
		return flatTable{}, fmt.Errorf("it does not end as it begins, with %s (%w)", arrowMagic, io.ErrUnexpectedEOF)
	}
	n := int64(int32(binary.LittleEndian.Uint32(tail)))
	if n < 8 || n > maxArrowMeta || n > r.r.Size-int64(len(tail)) {
		return flatTable{}, errFlat
	}
	f := &flat{b: make([]byte, n)}
	if _, err := r.r.ReadAt(f.b, r.r.Size-int64(len(tail))-n); err != nil {
		return flatTable{}, record.CutOff(err)
	}
	return f.root(), f.err
}

// blockSize is what a footer says of a message, in bytes.
const blockSize = 24

// blocks are where the messages begin that a footer lists.
func blocks(footer flatTable, field int) (out []int64) {
	at, n := footer.vector(field, blockSize)
	for i := range n {
		out = append(out, footer.f.i64(at+i*blockSize))
		if i > 0 && out[i] <= out[i-1] { // none is read twice
			footer.f.err = errFlat
		}
	}
	return out
}

// arrowMessage is a part of the file: what is in it, and where its values lie.
type arrowMessage struct {
	kind, version int
	head          flatTable
	body, size    int64
	next          int64
}

// message reads a message's description; io.EOF is the end of a stream.
func (r *arrowRows) message(at int64) (m arrowMessage, err error) {
	const mark = 0xffffffff // before the length, since version 0.15
	var b [8]byte
	if at < 0 || at > r.r.Size {
		return m, errFlat
	}
	if at == r.r.Size {
		return m, io.EOF
	}
	if _, err := r.r.ReadAt(b[:4], at); err != nil {
		return m, record.CutOff(err)
	}
	at += 4
	if binary.LittleEndian.Uint32(b[:]) == mark {
		if _, err := r.r.ReadAt(b[:4], at); err != nil {
			return m, record.CutOff(err)
		}
		at += 4
	}
	n := int64(int32(binary.LittleEndian.Uint32(b[:])))
	switch {
	case n == 0:
		return m, r.ended(at)
	case n < 8 || n > maxArrowMeta:
		return m, fmt.Errorf("a description of %d bytes at byte %d; is it an Arrow file?", n, at)
	case n > r.r.Size-at:
		return m, io.ErrUnexpectedEOF
	}
	f := &flat{b: make([]byte, n)}
	if _, err := r.r.ReadAt(f.b, at); err != nil {
		return m, record.CutOff(err)
	}
	t := f.root()
	m = arrowMessage{kind: t.byte(1), version: t.short(0, 0), head: t.table(2), body: at + n, size: t.long(3)}
	if f.err != nil || m.size < 0 {
		return m, errFlat
	}
	if m.size > r.r.Size-m.body {
		return m, io.ErrUnexpectedEOF
	}
	m.next = m.body + m.size
	return m, nil
}

// ended is io.EOF where a stream's mark of its end, which was read up to at, is the last of the file.
func (r *arrowRows) ended(at int64) error {
	b := make([]byte, min(8, r.r.Size-at))
	if _, err := r.r.ReadAt(b, at); err != nil {
		return err
	}
	if len(bytes.Trim(b, "\x00")) > 0 {
		return datafile.ErrJoined
	}
	return io.EOF
}

// joined reports whether another file stands before the one that has this footer.
func (r *arrowRows) joined(footer flatTable) bool {
	const around = 8 + 4 + int64(len(arrowMagic)) // what ends the batches, the footer's length, and the mark
	at, n := footer.vector(3, blockSize)
	if n == 0 {
		return false
	}
	at += (n - 1) * blockSize // the last batch: where it lies, and the bytes of its description and of its values
	end := footer.f.i64(at) + int64(footer.f.i32(at+8)) + footer.f.i64(at+16)
	b := make([]byte, len(arrowMagic))
	begins := r.r.Size - int64(len(footer.f.b)) - around - end
	if begins <= 0 || footer.f.err != nil {
		return false
	}
	_, err := r.r.ReadAt(b, begins)
	return err == nil && string(b) == arrowMagic
}

// dictionary takes up values that columns name by number: new ones, or more of them.
func (r *arrowRows) dictionary(m arrowMessage) error {
	id := m.head.long(0)
	f := dictionary(r.wanted, id)
	if f == nil {
		return nil
	}
	t := arrowBatch{r: r, m: m, t: m.head.table(1), window: r.window(arrowWhole), temp: &r.kept}
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
func (r *arrowRows) batch() error {
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
	case m.kind == arrowDictionaryMessage && !r.inFile:
		return r.dictionary(m)
	case m.kind != arrowBatchMessage:
		return fmt.Errorf("a part of the kind %d where rows are wanted", m.kind)
	}
	b := arrowBatch{r: r, m: m, t: m.head, window: r.window(arrowWindow), temp: &r.temp}
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

func (r *arrowRows) Columns() []string { return r.names }

// Next is the next row; row counts from 1.
func (r *arrowRows) Next() (m map[string]any, row int, bad, err error) {
	r.row++
	r.watch.AtRow(r.row)
	for r.i == r.n {
		if err := r.batch(); err != nil {
			if err == io.EOF {
				return nil, r.row, nil, err
			}
			return nil, r.row, nil, arrowFault(err)
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
			return nil, r.row, nil, arrowFault(fmt.Errorf("row %d, %q: %w", r.row, r.names[k], err))
		}
		m[r.names[k]] = v
	}
	return m, r.row, nil, nil
}

func (r *arrowRows) Close() {
	r.temp.close()
	r.kept.close()
	if r.r != nil {
		r.r.Close()
	}
}
