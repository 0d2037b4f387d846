// Package files opens what a path names for reading, where a file is meant: never a pipe that waits for a writer, a
// device, a folder, or the few lines that git-lfs leaves in a file's place.
package files

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
)

// Open opens a regular file for reading, through links. Anything else under that name is a Data error that says what
// it is; it never waits and never touches a device. A git-lfs pointer is refused too (see pointer).
func Open(path string) (*os.File, error) {
	st, err := os.Stat(path) // first: opening alone may already do something to a device
	if err != nil {
		if to, link := os.Readlink(path); link == nil && errors.Is(err, fs.ErrNotExist) {
			return nil, errs.Dataf("%s: a link to %s: %w", path, to, fs.ErrNotExist)
		}
		return nil, Fault(path, err)
	}
	if err := regular(path, st); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may have become a pipe since
	if err != nil {
		return nil, Fault(path, err)
	}
	if st, err = f.Stat(); err == nil {
		if err = regular(path, st); err == nil {
			err = pointer(f, path, st.Size())
		}
	}
	if err != nil {
		f.Close()
		return nil, Fault(path, err)
	}
	return f, nil
}

// Read is the content of a regular file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, Fault(path, err)
	}
	if int64(len(b)) > limit {
		return nil, errs.Dataf("%s: longer than %d bytes, which no such file needs", path, limit)
	}
	return b, nil
}

// regular refuses what is no regular file.
func regular(path string, st fs.FileInfo) error {
	what := "something else"
	switch m := st.Mode(); {
	case m.IsRegular():
		return nil
	case m.IsDir():
		what = "a folder"
	case m&fs.ModeNamedPipe != 0:
		return errs.Dataf("%s: a pipe where a file is wanted; write what it gives into a file first", path)
	case m&fs.ModeSocket != 0:
		what = "a socket"
	case m&fs.ModeDevice != 0:
		what = "a device"
	}
	return errs.Dataf("%s: %s where a file is wanted", path, what)
}

// Fault says what a call of the system found wrong with a file: the path and the reason, never the call's name, and of
// a disk that takes nothing, the mend. An error that has a kind already stays as it is, and nil is nil.
func Fault(path string, err error) error {
	var known *errs.Error
	var p *fs.PathError
	var l *os.LinkError
	var s *os.SyscallError
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.As(err, &p):
		err = p.Err
	case errors.As(err, &l):
		err = l.Err
	case errors.As(err, &s):
		err = s.Err
	}
	switch {
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT):
		return errs.Dataf("%s: the disk is full; make room and run the same command again: %w", path, err)
	case errors.Is(err, unix.EROFS):
		return errs.Dataf("%s: %w; give a place that can be written to", path, err)
	}
	return errs.Dataf("%s: %w", path, err)
}
