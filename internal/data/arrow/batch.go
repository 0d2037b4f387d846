package arrow

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"longlora/internal/data/datafile"
	"longlora/internal/data/record"
)

// batch takes columns out of a batch, in the order of the schema.
type batch struct {
	r      *rows
	m      message
	t      flatTable // RecordBatch
	window int64
	temp   *spool

	rows           int64
	nodes, buffers [2]int // where the next lies, and how many are left
	views          [2]int // the same of further buffers of views
	codec          int    // -1: not compressed
}

func (b *batch) open() error {
	b.rows = b.t.long(0)
	b.nodes[0], b.nodes[1] = b.t.vector(1, 16)
	b.buffers[0], b.buffers[1] = b.t.vector(2, 16)
	b.views[0], b.views[1] = b.t.vector(4, 8)
	b.codec = -1
	if c := b.t.table(3); c.at > 0 {
		b.codec = c.byte(0)
		if method := c.byte(1); b.codec > 1 || method != 0 {
			return fmt.Errorf("it is compressed by the codec %d and method %d, which are not read; write it without "+
				"compression, or with zstd or lz4",
				b.codec, method)
		}
	}
	if b.t.f.err != nil || b.rows < 0 {
		return errFlat
	}
	return nil
}

// take is where the next thing of so many bytes lies.
func (b *batch) take(of *[2]int, size int) (at int, err error) {
	if of[1] == 0 {
		return 0, errFlat
	}
	at = of[0]
	of[0] += size
	of[1]--
	return at, nil
}

// column is the next column, nil where it is not wanted.
func (b *batch) column(f *field, want bool) (*column, error) {
	at, err := b.take(&b.nodes, 16)
	if err != nil {
		return nil, err
	}
	c := &column{f: f, n: b.t.f.i64(at), nulls: b.t.f.i64(at + 8)}
	if c.n < 0 || c.n > 1<<48 {
		return nil, errFlat
	}
	n, children := f.buffers, f.children
	if f.index != nil {
		n, children = f.index.buffers, nil
	}
	if f.views() {
		at, err := b.take(&b.views, 8)
		if err != nil {
			return nil, err
		}
		more := b.t.f.i64(at)
		if more < 0 || more > int64(b.buffers[1]) {
			return nil, errFlat
		}
		n += int(more)
	}
	for range n {
		at, err := b.take(&b.buffers, 16)
		if err != nil {
			return nil, err
		}
		if !want {
			continue
		}
		buf, err := b.buffer(b.t.f.i64(at), b.t.f.i64(at+8))
		if err != nil {
			return nil, err
		}
		c.buffers = append(c.buffers, buf)
	}
	for _, g := range children {
		child, err := b.column(g, want)
		if err != nil {
			return nil, err
		}
		c.children = append(c.children, child)
	}
	if !want {
		return nil, nil
	}
	return c, nil
}

// buffer is a stretch of the batch's values, unpacked where it is compressed.
func (b *batch) buffer(off, n int64) (*buffer, error) {
	if off < 0 || n < 0 || off > b.m.size-n {
		return nil, errFlat
	}
	buf := &buffer{r: b.r.r, off: b.m.body + off, n: n, window: b.window}
	if b.codec < 0 || n == 0 {
		return buf, nil
	}
	w, err := buf.word(0, 8)
	if err != nil {
		return nil, err
	}
	buf.held, buf.off, buf.n = nil, buf.off+8, n-8
	size := int64(w)
	if size == -1 { // compression would have made it longer
		return buf, nil
	}
	if size < 0 {
		return nil, errFlat
	}
	if err := b.r.x.Grow(size); err != nil {
		return nil, err
	}
	var unpacked io.Reader = io.NewSectionReader(buf.r, buf.off, buf.n)
	if b.codec == 1 {
		z, err := zstd.NewReader(unpacked, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(b.r.x.Window()))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		unpacked = z
	} else {
		unpacked = lz4.NewReader(unpacked)
	}
	at, off, err := b.temp.add(b.r.x, io.LimitReader(unpacked, size), size)
	if err != nil {
		return nil, fmt.Errorf("a compressed part at byte %d: %w", buf.off, err)
	}
	return &buffer{r: at, off: off, n: size, window: b.window}, nil
}

// spool keeps what was unpacked, in memory while it is little, else in a file without a name.
type spool struct {
	held int64
	f    *os.File
	n    int64
}

// add keeps size bytes; they are to be read from r, off bytes on.
func (s *spool) add(x *datafile.File, from io.Reader, size int64) (r io.ReaderAt, off int64, err error) {
	if size <= wholeBuffer && s.held+size <= maxHeld {
		s.held += size
		b := make([]byte, size)
		if _, err := io.ReadFull(from, b); err != nil {
			return nil, 0, record.CutOff(err)
		}
		return bytes.NewReader(b), 0, nil
	}
	if s.f == nil {
		if s.f, err = datafile.Temp(); err != nil {
			return nil, 0, err
		}
	}
	off = s.n
	n, err := datafile.UnpackTo(s.f, from)
	s.n += n
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return s.f, off, err
}

// clear forgets everything.
func (s *spool) clear() {
	if s.held, s.n = 0, 0; s.f != nil {
		_ = s.f.Truncate(0) // what is not given back is when it is closed
		_, _ = s.f.Seek(0, io.SeekStart)
	}
}

func (s *spool) close() {
	if s.f != nil {
		_ = s.f.Close() // it goes with it
	}
}
