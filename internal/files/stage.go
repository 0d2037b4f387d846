package files

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
)

// Stage is a folder in the making. It is filled under another name, locked, and comes to its own when it is whole.
type Stage struct {
	Dir    string // where to write
	out    string
	inside bool // out was there, empty: Dir is in it
	lock   *Locked
}

const (
	partName   = "longlora-part"
	movingName = "longlora-moving.json" // in an inside part: the names that are on their way up
	maxMoving  = 1 << 20                // bytes of them
)

// CheckNew refuses a folder to be made whose name is taken by anything but an empty folder, or by what a killed Stage
// left in one.
func CheckNew(out string) error {
	_, err := newness(out)
	return err
}

// newness reports whether out is there, empty but for what a killed Stage left.
func newness(out string) (inside bool, err error) {
	names, err := Contents(out)
	if names == nil || err != nil {
		return false, err
	}
	moving := moved(filepath.Join(out, "."+partName))
	for _, name := range names {
		if name != "."+partName && !slices.Contains(moving, name) {
			return true, errs.Usagef("%s %s: is not empty, it holds %s; give a folder that is empty or not there yet",
				errs.Option("out"), out, name)
		}
	}
	return true, nil
}

// moved are the names that a killed Commit was bringing from a part to the folder around it, the last of which did not
// arrive.
func moved(part string) (names []string) {
	b, err := Read(filepath.Join(part, movingName), maxMoving)
	if err != nil || json.Unmarshal(b, &names) != nil || len(names) == 0 {
		return nil
	}
	for _, n := range names {
		if n != filepath.Base(n) || n == "." || n == ".." || n == "/" {
			return nil // not written by Commit: what lies elsewhere is not taken back
		}
	}
	if _, err := os.Lstat(filepath.Join(filepath.Dir(part), names[len(names)-1])); err == nil {
		return nil
	}
	return names
}

// NewStage takes a folder's place: one that is not there yet, or is empty. What a killed process left of the same is
// removed. Who comes second is told busy, an error of kind Usage.
func NewStage(out, busy string) (*Stage, error) {
	out, err := filepath.Abs(out)
	if err != nil {
		return nil, Fault(out, err)
	}
	for {
		s := &Stage{out: out}
		if s.inside, err = newness(out); err != nil {
			return nil, err
		}
		s.Dir = filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+"."+partName)
		if s.inside {
			s.Dir = filepath.Join(out, "."+partName)
		}
		if s.lock, err = Lock(s.Dir, busy); err != nil {
			return nil, err
		}
		inside, err := newness(out)
		if err == nil && inside == s.inside {
			if err = s.clear(); err == nil {
				return s, nil
			}
		}
		s.lock.Release()
		if err != nil {
			return nil, err
		}
	}
}

// clear empties the part, and takes back what was on its way out of it.
func (s *Stage) clear() error {
	if s.inside {
		for _, name := range moved(s.Dir) {
			if err := os.Remove(filepath.Join(s.out, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return Fault(s.out, err)
			}
		}
	}
	entries, err := os.ReadDir(s.Dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(s.Dir, e.Name())))
	}
	return Fault(s.Dir, err)
}

// Commit brings the folder to its name. In one that was there already the file called last comes last, so that no
// reader takes less than all of it for whole.
func (s *Stage) Commit(last string) error {
	defer s.lock.Release()
	if err := SyncDir(s.Dir); err != nil {
		return err
	}
	if s.inside {
		if err := s.moveUp(last); err != nil {
			return err
		}
		return SyncDir(s.out)
	}
	if err := unix.Rename(s.Dir, s.out); err != nil { // which replaces an empty folder, and no other
		s.Drop()
		return s.late(err)
	}
	return SyncDir(filepath.Dir(s.out))
}

// late says that the place was free at first and is not any more.
func (s *Stage) late(err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTDIR) { // ENOTEMPTY is an ErrExist
		return errs.Usagef("%s %s: somebody wrote to this place in the meantime; give another folder", errs.Option("out"),
			s.out)
	}
	return Fault(s.out, err)
}

// moveUp brings the files of a part into the folder around it.
func (s *Stage) moveUp(last string) error {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return Fault(s.Dir, err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != last {
			names = append(names, e.Name())
		}
	}
	names = append(names, last)
	list, err := json.Marshal(names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(s.out, name)); err == nil {
			s.Drop()
			return s.late(fs.ErrExist)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Dir, movingName), list, 0o666); err != nil {
		return Fault(s.Dir, err)
	}
	for _, name := range names {
		if name == last {
			if err := SyncDir(s.out); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(s.Dir, name), filepath.Join(s.out, name)); err != nil {
			return Fault(s.out, err)
		}
	}
	return Fault(s.Dir, os.RemoveAll(s.Dir))
}

// Drop removes what was staged; after Commit it does nothing.
func (s *Stage) Drop() {
	if s.lock.Check() == nil {
		_ = os.RemoveAll(s.Dir) // what stays is removed by the next one
	}
	s.lock.Release()
}
