package proc

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/par"
)

// forget makes the process as it was before a file broke.
func forget() {
	mapped.first.Store(nil)
	busForget()
}

// mapOf maps a file of n bytes 'x'.
func mapOf(t *testing.T, n int) (path string, b []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), n), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err = Map(f); err != nil || len(b) != n {
		t.Fatal(len(b), err)
	}
	return path, b
}

// sum reads all bytes on several goroutines at once.
func sum(b []byte) (n int) {
	var g par.Group
	part := make([]int, 8)
	for w := range part {
		g.Go(func() {
			for _, x := range b[len(b)*w/8 : len(b)*(w+1)/8] {
				part[w] += int(x)
			}
		})
	}
	g.Wait()
	for _, x := range part {
		n += x
	}
	return n
}

// A file that is cut off while it is mapped is an error of kind Data with its name, whatever was made of it, from then on
// and after it is unmapped; other files stay readable, and other faults stay what they are.
func TestCutOff(t *testing.T) {
	defer forget()
	const n = 1 << 20
	path, b := mapOf(t, n)
	_, other := mapOf(t, n)
	failed := errors.New("failed")
	if err := Intact(func() error { sum(b); return failed }); err != failed {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	if Broken() != nil {
		t.Fatal("nothing was read yet")
	}
	for name, f := range map[string]func() error{
		"a result":      func() error { sum(b); return nil },
		"another error": func() error { sum(b); return failed },
		"a panic":       func() error { sum(b); panic("of zeros") },
	} {
		err := Intact(f)
		if errs.Code(err) != 4 || !strings.HasPrefix(err.Error(), path+": it was cut off") || !IsBroken(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := sum(other); got != n*'x' {
		t.Errorf("another file reads %d", got)
	}
	if b[0] != 'x' {
		t.Error("what is still there is not read any more")
	}
	if err := Unmap(b); err != nil {
		t.Error(err)
	}
	if err := Broken(); !IsBroken(err) || IsBroken(failed) || IsBroken(nil) {
		t.Error(err)
	}
	if err := Unmap(other); err != nil {
		t.Error(err)
	}
	if Unmap(other) == nil {
		t.Error("unmapped twice")
	}
}

// A file that is cut within its last page can be read to its old end; it is known by its size. One that another took the
// name of is whole.
func TestCutInTheLastPage(t *testing.T) {
	defer forget()
	path, b := mapOf(t, 5000)
	defer func() { _ = Unmap(b) }()
	if err := os.WriteFile(path+".new", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	whole, other := mapOf(t, 5000)
	defer func() { _ = Unmap(other) }()
	if err := os.Rename(path+".new", whole); err != nil {
		t.Fatal(err)
	}
	if err := Intact(func() error { sum(b); sum(other); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 4999); err != nil {
		t.Fatal(err)
	}
	if err := Intact(func() error { sum(b); return nil }); errs.Code(err) != 4 || !strings.HasPrefix(err.Error(), path+": it was cut off") {
		t.Error(err)
	}
}

// What is no read of a mapped file stays a panic.
func TestIntactPanics(t *testing.T) {
	_, b := mapOf(t, 4096)
	defer func() { _ = Unmap(b) }()
	var nothing *int
	for name, f := range map[string]func() error{
		"a nil pointer": func() error { *nothing = 1; return nil },
		"a panic":       func() error { panic("a fault") },
	} {
		func() {
			defer func() {
				if par.Recovered(recover()) == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = Intact(f)
		}()
	}
}

// A place in the list is used again, and an empty file is nothing.
func TestMapAgain(t *testing.T) {
	before := len(mapped.open)
	for range 100 {
		_, b := mapOf(t, 10)
		if err := Unmap(b); err != nil {
			t.Fatal(err)
		}
	}
	if len(mapped.open) > before+1 {
		t.Errorf("%d places for one mapping at a time", len(mapped.open)-before)
	}
	if _, b := mapOf(t, 0); b != nil || Unmap(b) != nil {
		t.Error("an empty file")
	}
}
