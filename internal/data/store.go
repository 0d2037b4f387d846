package data

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"syscall"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/proc"
)

// store is a source's tokens with its documents' boundaries and masks, mapped from files: of a prepared source, or
// temporary ones without a name. Only pages that are used are in memory, and the system may drop them.
//
// ids are little-endian uint16, or uint32. A text document's record is its end in the stream (uint64). An example's is
//
//	end, end of its spans (uint64), first and last token that may be left out, file, line (uint32)
//
// and a span two uint32: the tokens [lo, hi) of the example that are scored.
type store struct {
	ids, docs, spans []byte
	width            int // bytes of an id
	examples         bool
	tokens           int64  // of the stream
	count            int    // documents
	mapped           []byte // where docs and spans are parts of one file
}

const (
	textRecord    = 8
	exampleRecord = 32
	spanRecord    = 8
)

// widthFor is the size of an id for a vocabulary.
func widthFor(vocab int) int {
	if vocab > 1<<16 {
		return 4
	}
	return 2
}

func (s *store) recordSize() int {
	if s.examples {
		return exampleRecord
	}
	return textRecord
}

// id is token i of the stream.
func (s *store) id(i int64) int32 {
	if s.width == 2 {
		return int32(binary.LittleEndian.Uint16(s.ids[2*i:]))
	}
	return int32(binary.LittleEndian.Uint32(s.ids[4*i:]))
}

// read appends tokens [lo, hi) of the stream.
func (s *store) read(out []int32, lo, hi int64) []int32 {
	for i := lo; i < hi; i++ {
		out = append(out, s.id(i))
	}
	return out
}

// end is where document d ends in the stream; that of document -1 is 0.
func (s *store) end(d int) int64 {
	if d < 0 {
		return 0
	}
	return min(int64(binary.LittleEndian.Uint64(s.docs[d*s.recordSize():])), s.tokens)
}

// docAt is the document that token i belongs to.
func (s *store) docAt(i int64) int {
	return sort.Search(s.count, func(d int) bool { return s.end(d) > i })
}

// example is the record of document d, its tokens counted from its first.
func (s *store) example(d int) document {
	r := s.docs[d*exampleRecord:]
	u32 := binary.LittleEndian.Uint32
	x := document{n: int(s.end(d) - s.end(d-1)), trim: span{int(u32(r[16:])), int(u32(r[20:]))}, file: int(u32(r[24:])),
		line: int(u32(r[28:]))}
	from := uint64(0)
	if d > 0 {
		from = binary.LittleEndian.Uint64(s.docs[(d-1)*exampleRecord+8:])
	}
	for i := from; i < binary.LittleEndian.Uint64(r[8:]); i++ {
		p := s.spans[i*spanRecord:]
		x.answers = append(x.answers, span{int(u32(p)), int(u32(p[4:]))})
	}
	return x
}

// check goes through the records once: a damaged index must not be trusted later.
func (s *store) check(path string) error {
	bad := func(d int) error {
		return errs.Dataf("%s: the record of document %d is damaged; prepare the data again", path, d+1)
	}
	last, lastSpan := uint64(0), uint64(0)
	for d := range s.count {
		r := s.docs[d*s.recordSize():]
		end := binary.LittleEndian.Uint64(r)
		if end < last || end > uint64(s.tokens) || end-last > math.MaxUint32 {
			return bad(d)
		}
		n := uint32(end - last)
		last = end
		if !s.examples {
			continue
		}
		to := binary.LittleEndian.Uint64(r[8:])
		lo, hi := binary.LittleEndian.Uint32(r[16:]), binary.LittleEndian.Uint32(r[20:])
		if to < lastSpan || to > uint64(len(s.spans)/spanRecord) || lo > hi || hi > n {
			return bad(d)
		}
		at := uint32(0)
		for ; lastSpan < to; lastSpan++ {
			p := s.spans[lastSpan*spanRecord:]
			a, b := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
			if a < at || b < a || b > n {
				return bad(d)
			}
			at = b
		}
	}
	if last != uint64(s.tokens) {
		return errs.Dataf("%s: its documents hold %d tokens, the file of ids %d; prepare the data again", path, last,
			s.tokens)
	}
	return nil
}

// storeWriter writes a store's three parts.
type storeWriter struct {
	f        [3]*os.File // ids, documents, spans
	w        [3]*bufio.Writer
	width    int
	examples bool
	tokens   uint64
	whole    uint64 // tokens of whole documents
	count    int
	spans    uint64
}

func newStoreWriter(f [3]*os.File, width int, examples bool) *storeWriter {
	w := &storeWriter{f: f, width: width, examples: examples}
	for i := range f {
		w.w[i] = bufio.NewWriterSize(f[i], 1<<18)
	}
	return w
}

// add writes a batch's documents.
func (w *storeWriter) add(r *result) error {
	var b [exampleRecord]byte
	le := binary.LittleEndian
	ids := r.ids
	for _, d := range r.docs {
		if d.undo {
			if err := w.undo(); err != nil {
				return err
			}
			continue
		}
		for _, id := range ids[:d.n] {
			le.PutUint32(b[:], uint32(id))
			if _, err := w.w[0].Write(b[:w.width]); err != nil {
				return w.fault(err)
			}
		}
		ids = ids[d.n:]
		if w.tokens += uint64(d.n); d.more {
			continue
		}
		w.whole = w.tokens
		w.count++
		le.PutUint64(b[:], w.tokens)
		n := textRecord
		if w.examples {
			n = exampleRecord
			w.spans += uint64(len(d.answers))
			le.PutUint64(b[8:], w.spans)
			for i, v := range []int{d.trim.lo, d.trim.hi, d.file, d.line} {
				le.PutUint32(b[16+4*i:], uint32(min(v, math.MaxUint32)))
			}
		}
		if _, err := w.w[1].Write(b[:n]); err != nil {
			return w.fault(err)
		}
		for _, a := range d.answers {
			le.PutUint32(b[:], uint32(a.lo))
			le.PutUint32(b[4:], uint32(a.hi))
			if _, err := w.w[2].Write(b[:spanRecord]); err != nil {
				return w.fault(err)
			}
		}
	}
	return nil
}

// undo takes back the tokens of a document that is not whole.
func (w *storeWriter) undo() error {
	if err := w.w[0].Flush(); err != nil {
		return w.fault(err)
	}
	end := int64(w.whole) * int64(w.width)
	if err := w.f[0].Truncate(end); err != nil {
		return w.fault(err)
	}
	if _, err := w.f[0].Seek(end, io.SeekStart); err != nil {
		return w.fault(err)
	}
	w.tokens = w.whole
	return nil
}

func (w *storeWriter) flush() error {
	for i := range w.w {
		if err := w.w[i].Flush(); err != nil {
			return w.fault(err)
		}
	}
	return nil
}

func (w *storeWriter) fault(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return errs.Dataf("writing tokens: the disk is full; make room, or set TMPDIR to a folder with room: %w", err)
	}
	return errs.Dataf("writing tokens: %w", err)
}

// open maps what was written.
func (w *storeWriter) open() (*store, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	s := &store{width: w.width, examples: w.examples, tokens: int64(w.tokens), count: w.count}
	for i, p := range []*[]byte{&s.ids, &s.docs, &s.spans} {
		var err error
		if *p, err = proc.Map(w.f[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *store) close() {
	maps := [][]byte{s.ids, s.docs, s.spans}
	if s.mapped != nil {
		maps = [][]byte{s.ids, s.mapped}
	}
	for _, b := range maps {
		_ = proc.Unmap(b) // only read
	}
	*s = store{}
}

// table is a list of numbers too long for memory: written once, then mapped.
type table struct {
	f *os.File
	w *bufio.Writer
	b []byte
	n int
}

func newTable() (*table, error) {
	f, err := datafile.Temp()
	if err != nil {
		return nil, err
	}
	return &table{f: f, w: bufio.NewWriterSize(f, 1<<16)}, nil
}

func (t *table) add(v int64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(v))
	t.n++
	if _, err := t.w.Write(b[:]); err != nil {
		return errs.Dataf("writing the table of rows: %w; set TMPDIR to a folder with room", err)
	}
	return nil
}

// done maps what was added.
func (t *table) done() error {
	err := t.w.Flush()
	if err != nil {
		return errs.Dataf("writing the table of rows: %w; set TMPDIR to a folder with room", err)
	}
	t.b, err = proc.Map(t.f)
	if e := t.f.Close(); err == nil && e != nil {
		err = fmt.Errorf("the table of rows: %w", e)
	}
	return err
}

// at is entry i; that of -1 is 0.
func (t *table) at(i int) int64 {
	if i < 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(t.b[8*i:]))
}

func (t *table) close() {
	_ = proc.Unmap(t.b) // only read
	t.b = nil
}
