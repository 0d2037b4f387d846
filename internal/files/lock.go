package files

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
)

// Locked is a folder that other processes of this program are kept out of.
type Locked struct {
	Dir  string
	f    *os.File
	made bool
}

// Lock keeps others out of a folder while this process lives: flock on the folder itself, so that nothing is left
// behind. The folder is made when missing. busy is what is said to who comes second, an error of kind Usage.
func Lock(dir, busy string) (*Locked, error) {
	l := &Locked{Dir: dir}
	for {
		_, err := os.Stat(dir)
		l.made = errors.Is(err, fs.ErrNotExist)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, Fault(dir, err)
		}
		if l.f, err = os.Open(dir); errors.Is(err, fs.ErrNotExist) {
			continue // who held it before took it away
		} else if err != nil {
			return nil, Fault(dir, err)
		}
		if err := Flock(l.f); err != nil {
			_ = l.f.Close() // only read
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errs.Usagef("%s: %s", dir, busy)
			}
			return nil, errs.Dataf("%s: the folder cannot be locked: %w", dir, err)
		}
		stands, err := l.stands()
		if err == nil && stands {
			return l, nil
		}
		_ = l.f.Close() // taken away in between, as above
		if err != nil {
			return nil, err
		}
	}
}

// patience is how long a lock is waited for: a process that was killed holds its own until the system has taken its
// memory back, and the same command may be given again at once.
const patience = 2 * time.Second

// Flock takes the lock of an open file or folder, or fails with EWOULDBLOCK where another process keeps it.
func Flock(f *os.File) error { return flock(f, unix.LOCK_EX) }

func flock(f *os.File, how int) error {
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}

// Held reports whether another process keeps a folder's lock, which is waited for as one that is taken. It is asked for
// a moment, and shared with others who ask: whoever takes it meanwhile waits as well. Where the folder or the system
// does not tell it is taken to be free.
func Held(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, unix.LOCK_SH), unix.EWOULDBLOCK)
}

// stands reports whether the folder is still the one under its name.
func (l *Locked) stands() (bool, error) {
	mine, err := l.f.Stat()
	if err != nil {
		return false, Fault(l.Dir, err)
	}
	now, err := os.Stat(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, Fault(l.Dir, err)
	}
	return err == nil && os.SameFile(mine, now), nil
}

// Check refuses to go on where the folder does not stand under its name any more: what is written there would be lost,
// or land in another folder.
func (l *Locked) Check() error {
	stands, err := l.stands()
	if err == nil && !stands {
		err = errs.Dataf("%s: the folder was removed or moved away while it was written into", l.Dir)
	}
	return err
}

// Release lets others in. A folder that was made for the lock goes again when nothing was put into it.
func (l *Locked) Release() {
	if l.made && l.Check() == nil {
		_ = os.Remove(l.Dir) // which fails where there is something in it
	}
	_ = l.f.Close() // only read
}
