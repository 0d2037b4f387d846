package proc

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"longlora/internal/errs"
)

type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

// The first fault stays, is of kind Data, and is what every later write says.
func TestOutput(t *testing.T) {
	var b bytes.Buffer
	o := NewOutput(&b)
	if n, err := io.WriteString(o, "result"); n != 6 || err != nil || o.Fault() != nil || b.String() != "result" {
		t.Errorf("%d, %v, %v, %q", n, err, o.Fault(), &b)
	}
	o = NewOutput(&full{room: 3})
	if _, err := io.WriteString(o, "abc"); err != nil || o.Fault() != nil {
		t.Error(err)
	}
	_, first := io.WriteString(o, "d")
	_, second := io.WriteString(o, "")
	if errs.Code(first) != 4 || !strings.HasPrefix(first.Error(), "standard output: ") || !errors.Is(first, syscall.ENOSPC) {
		t.Error(first)
	}
	if second != first || o.Fault() != first {
		t.Errorf("%v, %v", second, o.Fault())
	}
}
