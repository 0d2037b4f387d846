package datafile

import (
	"io/fs"
	"testing"
	"time"
)

// What comes out of a small file is bounded by its size on the disk; a file that merely compresses well is read.
func TestGrow(t *testing.T) {
	x := &File{Path: "a.gz", was: sized(1000)}
	for range growthFrom >> 20 {
		if err := x.Grow(1 << 20); err != nil {
			t.Fatalf("after %d MiB: %v", x.grown>>20, err)
		}
	}
	if err := x.Grow(1 << 20); err == nil {
		t.Errorf("%d MiB of a file of 1000 bytes are believed", x.grown>>20)
	}
	x = &File{Path: "a.gz", was: sized(1 << 20)}
	if err := x.Grow(400 << 20); err != nil {
		t.Error(err)
	}
}

// sized is the description of a file of so many bytes.
type sized int64

func (s sized) Size() int64 { return int64(s) }

func (s sized) Name() string { return "" }

func (s sized) Mode() fs.FileMode { return 0 }

func (s sized) ModTime() time.Time { return time.Time{} }

func (s sized) IsDir() bool { return false }

func (s sized) Sys() any { return nil }
