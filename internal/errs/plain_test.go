package errs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Texts of the system and of Go's parsers reach a user without the names of their functions, at any depth.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	_, stat := os.Stat(missing)
	mkdir := os.Mkdir(filepath.Join(missing, "x"), 0o777)
	link := os.Rename(missing, dir+"/to")
	_, number := strconv.ParseInt("12x", 10, 64)
	call := os.NewSyscallError("ftruncate", syscall.EACCES)
	for _, c := range []struct {
		err  error
		want string
	}{
		{Dataf("--data: %w", stat), "--data: " + missing + ": no such file or directory"},
		{Dataf("%w", fmt.Errorf("reading: %w", stat)), "reading: " + missing + ": no such file or directory"},
		{Dataf("%s: it is not here: %w", missing, stat), missing + ": it is not here: no such file or directory"},
		{mkdir, missing + "/x: no such file or directory"},
		{Dataf("%w", link), dir + "/to: no such file or directory"},
		{Usagef("steps: %w", number), `steps: "12x": not a number that fits`},
		{Dataf("out: %w", call), "out: permission denied"},
		{errors.New("as it was"), "as it was"},
	} {
		if got := Plain(c.err); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
