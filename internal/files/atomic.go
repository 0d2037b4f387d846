package files

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"

	"longlora/internal/errs"
)

// buffers are used again: a checkpoint is many small files.
var buffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 1<<20) }}

// WriteAtomic writes a file under a temporary name beside it, flushes it to the disk and renames it: a reader
// sees the old file or the new one, never a part. A failure leaves nothing behind.
func WriteAtomic(path string, write func(io.Writer) error) (err error) {
	f, err := create(path)
	if err != nil {
		return Fault(path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = Fault(path, err)
		}
	}()
	w := buffers.Get().(*bufio.Writer)
	defer func() {
		w.Reset(nil)
		buffers.Put(w)
	}()
	w.Reset(&eager{f: f})
	if err = write(w); err != nil {
		return err
	}
	if err = w.Flush(); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil { // before it is closed, which gives its lock up
		return err
	}
	_ = f.Close() // it is on the disk
	return SyncDir(filepath.Dir(path))
}

// eager has the kernel write a long file to the disk while the rest of it is still being made.
type eager struct {
	f           *os.File
	at, started int64
}

func (e *eager) Write(p []byte) (int, error) {
	const step = 32 << 20
	n, err := e.f.Write(p)
	if e.at += int64(n); e.at-e.started >= step {
		startWriteback(e.f, e.started, e.at-e.started)
		e.started = e.at
	}
	return n, err
}

// SyncDir makes renames in a folder last.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return Fault(dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return Fault(dir, err)
	}
	return nil
}

// WriteJSON writes an indented JSON document atomically.
func WriteJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteAtomic(path, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// WriteSealed is WriteJSON of a document that ReadSealed can tell from a damaged one.
func WriteSealed(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteAtomic(path, func(w io.Writer) error {
		_, err := w.Write(Seal(b))
		return err
	})
}

// MakeDir makes a folder and those above it.
func MakeDir(path string) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return Fault(path, err)
	}
	return nil
}

// SameDir reports whether two paths lead to one folder, through links too. A path that does not exist yet is followed
// as MakeDir would come to it: x/.. is where x would be.
func SameDir(a, b string) bool {
	y, err := os.Stat(b)
	if err != nil {
		return false
	}
	for _, p := range []string{a, filepath.Clean(a)} {
		if x, err := os.Stat(p); err == nil && os.SameFile(x, y) {
			return true
		}
	}
	return false
}

// Exists reports whether something stands under a name, through links.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// CopyFile copies a file atomically.
func CopyFile(dst, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return errs.Dataf("%w", err)
	}
	defer f.Close()
	return WriteAtomic(dst, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
