package arrow

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"longlora/internal/data/datafile"
	"longlora/internal/data/record"
)

// footer is what stands at the end of the file format.
func (r *rows) footer() (flatTable, error) {
	tail := make([]byte, 4+len(magic))
	if _, err := r.r.ReadAt(tail, max(0, r.r.Size-int64(len(tail)))); err != nil || string(tail[4:]) != magic {
		return flatTable{}, fmt.Errorf("it does not end as it begins, with %s (%w)", magic, io.ErrUnexpectedEOF)
	}
	n := int64(int32(binary.LittleEndian.Uint32(tail)))
	if n < 8 || n > maxMeta || n > r.r.Size-int64(len(tail)) {
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

// message is a part of the file: what is in it, and where its values lie.
type message struct {
	kind, version int
	head          flatTable
	body, size    int64
	next          int64
}

// message reads a message's description; io.EOF is the end of a stream.
func (r *rows) message(at int64) (m message, err error) {
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
	case n < 8 || n > maxMeta:
		return m, fmt.Errorf("a description of %d bytes at byte %d; is it an Arrow file?", n, at)
	case n > r.r.Size-at:
		return m, io.ErrUnexpectedEOF
	}
	f := &flat{b: make([]byte, n)}
	if _, err := r.r.ReadAt(f.b, at); err != nil {
		return m, record.CutOff(err)
	}
	t := f.root()
	m = message{kind: t.byte(1), version: t.short(0, 0), head: t.table(2), body: at + n, size: t.long(3)}
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
func (r *rows) ended(at int64) error {
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
func (r *rows) joined(footer flatTable) bool {
	const around = 8 + 4 + int64(len(magic)) // what ends the batches, the footer's length, and the mark
	at, n := footer.vector(3, blockSize)
	if n == 0 {
		return false
	}
	at += (n - 1) * blockSize // the last batch: where it lies, and the bytes of its description and of its values
	end := footer.f.i64(at) + int64(footer.f.i32(at+8)) + footer.f.i64(at+16)
	b := make([]byte, len(magic))
	begins := r.r.Size - int64(len(footer.f.b)) - around - end
	if begins <= 0 || footer.f.err != nil {
		return false
	}
	_, err := r.r.ReadAt(b, begins)
	return err == nil && string(b) == magic
}
