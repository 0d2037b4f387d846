package files

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// What this program writes lies under a name of this form until it is whole, beside the name that it is for.
var tempName = regexp.MustCompile(`^\.(.+)\.longlora-[0-9a-f]{16}\.tmp$`)

// tempOf is the name that a temporary one stands for; ok is false for a name that this program never gave.
func tempOf(name string) (of string, ok bool) {
	m := tempName.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// temp is a new temporary name for path.
func temp(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.longlora-%016x.tmp", filepath.Base(path), rand.Uint64()))
}

// create makes the temporary file in which path is written. It is locked while it is open, so that Sweep leaves it
// alone.
func create(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(temp(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			_ = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) // where there are no locks nothing is swept either
		}
		return f, err
	}
}

// MakeTemp makes the temporary folder in which path is filled.
func MakeTemp(path string) (string, error) {
	for {
		dir := temp(path)
		err := os.Mkdir(dir, 0o777)
		if !errors.Is(err, fs.ErrExist) {
			return dir, err
		}
	}
}

// Place brings a folder that was filled under a temporary name to its own; an older one there goes away.
func Place(dir, temporary string) error {
	if Exists(dir) {
		if err := Drop(dir); err != nil {
			return err
		}
	}
	if err := os.Rename(temporary, dir); err != nil {
		return Fault(dir, err)
	}
	return SyncDir(filepath.Dir(dir))
}

// Drop removes a file or folder so that no half of it ever stands under its name.
func Drop(path string) error {
	gone := temp(path)
	if err := os.Rename(path, gone); err != nil {
		return Fault(path, err)
	}
	return Fault(path, os.RemoveAll(gone))
}

// Sweep removes what killed processes left half written in a folder: temporary files that nobody writes any more, and
// temporary folders, whose makers must be kept out of dir by a lock.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Fault(dir, err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if _, ours := tempOf(e.Name()); !ours || e.Type().IsRegular() && !abandoned(path) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return Fault(path, err)
		}
	}
	return nil
}

// abandoned reports whether no process has a temporary file open for writing.
func abandoned(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
}
