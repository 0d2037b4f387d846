package files

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Watch tells whether a file is still what it was, without reading it as long as nobody touched it.
type Watch struct {
	Path  string
	was   identity
	print Fingerprint
}

// identity changes with every write to a file, whatever time is set afterwards, and when another takes its name.
type identity struct {
	Dev, Ino, Size uint64
	Write, Change  unix.Timespec
}

func identify(path string) (identity, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return identity{}, err
	}
	return identity{uint64(st.Dev), st.Ino, uint64(st.Size), st.Mtim, st.Ctim}, nil
}

// NewWatch watches a file that has just been fingerprinted.
func NewWatch(path string, print Fingerprint) (*Watch, error) {
	id, err := identify(path)
	if err != nil {
		return nil, Fault(path, err)
	}
	return &Watch{path, id, print}, nil
}

// Look compares the file with what it was when it was watched first; one that is gone is Changed. Only a file that was
// touched since the last look is read. A touch is told once.
func (w *Watch) Look() (Change, error) {
	id, err := identify(w.Path)
	if errors.Is(err, unix.ENOENT) {
		return Changed, nil
	}
	if err != nil {
		return Changed, Fault(w.Path, err)
	}
	if id == w.was {
		return Unchanged, nil
	}
	now, err := take(w.Path, w.print.Name, !w.print.Sampled)
	if err != nil {
		return Changed, err
	}
	c := now.Since(w.print)
	if c != Changed {
		w.was = id
	}
	return c, nil
}
