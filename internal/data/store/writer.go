package store

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"syscall"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/proc"
)

// Writer writes a store's three parts.
type Writer struct {
	f        [3]*os.File // ids, documents, spans
	w        [3]*bufio.Writer
	width    int
	examples bool
	Room     string // how a full disk is mended
	Counts
}

// Counts are what was written so far, as a preparation keeps them to go on from.
type Counts struct {
	Tokens uint64 `json:"tokens"`
	Whole  uint64 `json:"whole"` // tokens of whole documents
	Count  int    `json:"documents"`
	Spans  uint64 `json:"spans"` // scored stretches
}

// Sizes are the lengths of the three files that hold so much, in bytes.
func (c Counts) Sizes(width int, examples bool) [3]int64 {
	record := int64(textRecord)
	if examples {
		record = exampleRecord
	}
	return [3]int64{int64(c.Tokens) * int64(width), int64(c.Count) * record, int64(c.Spans) * spanRecord}
}

// NewWriter writes to three files: ids of width bytes, documents and, for examples, their spans. To go on with files
// that hold something, set Counts to what that is.
func NewWriter(f [3]*os.File, width int, examples bool) *Writer {
	w := &Writer{f: f, width: width, examples: examples, Room: "make room, or set TMPDIR to a folder with room"}
	for i := range f {
		w.w[i] = bufio.NewWriterSize(f[i], 1<<18)
	}
	return w
}

// Add writes documents, whose tokens stand in ids one after another.
func (w *Writer) Add(ids []int32, docs []Document) error {
	var b [exampleRecord]byte
	le := binary.LittleEndian
	for _, d := range docs {
		if d.Undo {
			if err := w.undo(); err != nil {
				return err
			}
			continue
		}
		for _, id := range ids[:d.N] {
			le.PutUint32(b[:], uint32(id))
			if _, err := w.w[0].Write(b[:w.width]); err != nil {
				return w.fault(err)
			}
		}
		ids = ids[d.N:]
		if w.Tokens += uint64(d.N); d.More {
			continue
		}
		w.Whole = w.Tokens
		w.Count++
		le.PutUint64(b[:], w.Tokens)
		n := textRecord
		if w.examples {
			n = exampleRecord
			w.Spans += uint64(len(d.Answers))
			le.PutUint64(b[8:], w.Spans)
			for i, v := range []int{d.Trim.Lo, d.Trim.Hi, d.File, d.Line} {
				le.PutUint32(b[16+4*i:], uint32(min(v, math.MaxUint32)))
			}
		}
		if _, err := w.w[1].Write(b[:n]); err != nil {
			return w.fault(err)
		}
		for _, a := range d.Answers {
			le.PutUint32(b[:], uint32(a.Lo))
			le.PutUint32(b[4:], uint32(a.Hi))
			if _, err := w.w[2].Write(b[:spanRecord]); err != nil {
				return w.fault(err)
			}
		}
	}
	return nil
}

// undo takes back the tokens of a document that is not whole.
func (w *Writer) undo() error {
	if err := w.w[0].Flush(); err != nil {
		return w.fault(err)
	}
	end := int64(w.Whole) * int64(w.width)
	if err := w.f[0].Truncate(end); err != nil {
		return w.fault(err)
	}
	if _, err := w.f[0].Seek(end, io.SeekStart); err != nil {
		return w.fault(err)
	}
	w.Tokens = w.Whole
	return nil
}

// flush brings what was added to the files.
func (w *Writer) flush() error {
	for i := range w.w {
		if err := w.w[i].Flush(); err != nil {
			return w.fault(err)
		}
	}
	return nil
}

// fault is an error of writing, with the mend where there is one.
func (w *Writer) fault(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return errs.Dataf("writing tokens: the disk is full; %s: %w", w.Room, err)
	}
	return errs.Dataf("writing tokens: %w", err)
}

// Open maps what was written. The files may be closed then.
func (w *Writer) Open() (*Store, error) {
	if err := w.flush(); err != nil {
		return nil, err
	}
	s := &Store{width: w.width, Examples: w.examples, Tokens: int64(w.Tokens), Count: w.Count}
	for i, p := range []*[]byte{&s.ids, &s.docs, &s.spans} {
		var err error
		if *p, err = proc.Map(w.f[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Copy adds another store's documents, or its ids where it has none.
func (w *Writer) Copy(st *Store) error {
	if st.Count == 0 {
		w.Tokens += uint64(st.Tokens)
		if _, err := w.w[0].Write(st.ids); err != nil {
			return w.fault(err)
		}
		return nil
	}
	for d := range st.Count {
		var x Document
		if st.Examples {
			x = st.Example(d)
		}
		lo, hi := st.End(d-1), st.End(d)
		x.N = int(hi - lo)
		if err := w.Add(st.Read(nil, lo, hi), []Document{x}); err != nil {
			return err
		}
	}
	return nil
}

// TempParts are three files without names for a Writer.
func TempParts() (f [3]*os.File, err error) {
	for i := range f {
		if f[i], err = datafile.Temp(); err != nil {
			CloseParts(f)
			return f, err
		}
	}
	return f, nil
}

// CloseParts closes the files of a Writer, those that are there.
func CloseParts(f [3]*os.File) {
	for _, x := range f {
		if x != nil {
			_ = x.Close() // what is mapped stays
		}
	}
}

// Sync makes what was added last, whatever happens to the machine.
func (w *Writer) Sync() error {
	if err := w.flush(); err != nil {
		return err
	}
	for _, f := range w.f {
		if err := f.Sync(); err != nil {
			return w.fault(err)
		}
	}
	return nil
}

// WriteIndex writes the index of what was added, which must have been flushed.
func (w *Writer) WriteIndex(to io.Writer) error {
	if _, err := to.Write(indexHead(w.Count, w.Spans, w.examples)); err != nil {
		return err
	}
	for _, f := range w.f[1:] {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(to, f); err != nil {
			return err
		}
	}
	return nil
}
