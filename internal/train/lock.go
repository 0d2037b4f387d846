package train

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
)

// lock keeps other runs out of a folder while this process lives: flock on the folder itself, so that nothing is
// left behind. The folder is made when missing, and goes again when nothing was put into it.
func lock(dir string) (release func(), err error) {
	_, missing := os.Stat(dir)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, errs.Dataf("--out: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, errs.Dataf("--out: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errs.Dataf("--out %s: another run is at work in this folder; wait for it or choose another --out", dir)
		}
		return nil, errs.Dataf("--out %s: locking the folder: %w", dir, err)
	}
	return func() {
		if missing != nil {
			_ = os.Remove(dir) // which fails where there is something in it
		}
		_ = f.Close()
	}, nil
}
