package store

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"longlora/internal/errs"
)

// A full disk is mended where the files are: by a folder for temporary ones, or as who names them says.
func TestNoRoom(t *testing.T) {
	w := NewWriter([3]*os.File{}, 2, false)
	for _, room := range []string{w.Room, "make room beside it"} {
		w.Room = room
		if err := w.fault(syscall.ENOSPC); errs.Code(err) != 4 || !strings.Contains(err.Error(), "the disk is full; "+room+": ") {
			t.Errorf("%v", err)
		}
	}
}
