package store

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"

	"longlora/internal/data/datafile"
	"longlora/internal/errs"
	"longlora/internal/proc"
)

// Table is a list of numbers too long for memory: written once, then mapped.
type Table struct {
	f   *os.File
	w   *bufio.Writer
	b   []byte
	Len int // numbers that were added
}

// NewTable begins a table in a file without a name. It must be closed.
func NewTable() (*Table, error) {
	f, err := datafile.Temp()
	if err != nil {
		return nil, err
	}
	return &Table{f: f, w: bufio.NewWriterSize(f, 1<<16)}, nil
}

// Add appends a number; none may come after Done.
func (t *Table) Add(v int64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(v))
	t.Len++
	if _, err := t.w.Write(b[:]); err != nil {
		return errs.Dataf("writing the table of rows: %w; set TMPDIR to a folder with room", err)
	}
	return nil
}

// Done maps what was added, for At.
func (t *Table) Done() error {
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

// At is entry i; that of -1 is 0.
func (t *Table) At(i int) int64 {
	if i < 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(t.b[8*i:]))
}

// Close gives back what is mapped.
func (t *Table) Close() {
	_ = proc.Unmap(t.b) // only read
	t.b = nil
}
