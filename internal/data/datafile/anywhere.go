package datafile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"longlora/internal/errs"
)

// Temp is a file without a name in TMPDIR, /var/tmp unless set, for what is too large for memory; nothing of it is left
// when the process ends. Where none can be made that is a data error that says how to mend it.
func Temp() (*os.File, error) {
	dir := os.Getenv("TMPDIR")
	if dir == "" {
		dir = "/var/tmp" // on a disk, where /tmp is often memory
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			dir = os.TempDir()
		}
	}
	f, err := os.CreateTemp(dir, "longlora-*")
	if err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return nil, errs.Dataf("a temporary file for the tokens: %w; set TMPDIR to a folder with room", err)
	}
	return f, nil
}

// UnpackTo writes what comes out of a decompressor to a file, and gives its length. A full disk is said to be one.
func UnpackTo(f *os.File, r io.Reader) (int64, error) {
	n, err := io.Copy(f, r)
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("there is no room to unpack it; set TMPDIR to a folder with room: %w", err)
	}
	return n, err
}

// Anywhere is a data file of which any part may be read: the file itself, or what a compressed one was unpacked to. It
// must be closed, before its File is.
type Anywhere struct {
	Size     int64 // bytes that can be read
	f        *os.File
	x        *File
	unpacked bool
}

// Anywhere gives the file to be read from any place on, as formats want it whose directory stands at their end. A
// compressed one is unpacked first, into a file without a name.
func (x *File) Anywhere() (*Anywhere, error) {
	a := &Anywhere{f: x.f, x: x}
	if !x.plain {
		f, err := Temp()
		if err != nil {
			return nil, err
		}
		a.f, a.unpacked = f, true
		if _, err = UnpackTo(f, x.r); err != nil {
			a.Close()
			return nil, err
		}
	}
	st, err := a.f.Stat()
	if err != nil {
		a.Close()
		return nil, err
	}
	a.Size = st.Size()
	return a, nil
}

// ReadAt reads from a place on, and counts it as taken from the disk.
func (a *Anywhere) ReadAt(p []byte, off int64) (int, error) {
	n, err := a.f.ReadAt(p, off)
	if !a.unpacked {
		a.x.read.Add(int64(n))
	}
	return n, err
}

// Close gives back what a compressed file was unpacked to; the data file itself stays open.
func (a *Anywhere) Close() {
	if a.unpacked {
		_ = a.f.Close() // only read
	}
}

// ErrJoined is the fault of files that were written one behind the other into one, of which readers see one alone.
var ErrJoined = errors.New("several files joined into one, of which only one would be read; put them into a folder " +
	"instead")
