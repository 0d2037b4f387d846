package data

import (
	"bytes"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
)

// opened opens a data file by itself.
func opened(t *testing.T, path string) (*file, error) {
	t.Helper()
	st, err := look(path)
	if err != nil {
		t.Fatal(err)
	}
	return openFile(path, st, new(atomic.Int64), 0)
}

// grower is a text that compresses to nothing.
type grower struct{ n int64 }

func (g *grower) Read(p []byte) (int, error) {
	if g.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p, strings.Repeat("a b ", 1+len(p)/4)[:min(int64(len(p)), g.n)])
	g.n -= int64(n)
	return n, nil
}

// A small file that grows to fill a machine is refused before it does, and so is a record or a page that is larger than
// its share of the memory; a file that merely compresses well is read.
func TestBombs(t *testing.T) {
	x := &file{path: "a.gz", was: sized(1000)}
	for range growthFrom >> 20 {
		if err := x.grow(1 << 20); err != nil {
			t.Fatalf("after %d MiB: %v", x.grown>>20, err)
		}
	}
	if err := x.grow(1 << 20); err == nil {
		t.Errorf("%d MiB of a file of 1000 bytes are believed", x.grown>>20)
	}
	x = &file{path: "a.gz", was: sized(1 << 20)}
	if err := x.grow(400 << 20); err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err == nil {
		_, err = io.Copy(w, &grower{growthFrom + 1<<20})
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("a b ", 1<<16)
	for name, c := range map[string]struct {
		content string
		room    int64
		code    int
		want    string
	}{
		"a.parquet.zst": {b.String(), 0, 4, "500-fold"},
		"cell.parquet":  {parquetOf(t, textRow{big, 1}), 1 << 20, 3, "cell.parquet"},
		"dict.parquet":  {parquetOf(t, repeatedRow{big, 1}, repeatedRow{big, 2}), 1 << 20, 3, "dict.parquet"},
		"two.parquet":   {parquetOf(t, textRow{"a", 1}, textRow{"b", 2}), 1 << 20, 0, ""},
	} {
		o := realOptions(t, write(t, name, c.content), "pad", 1<<20)
		o.HostMem = c.room
		s, err := Open(t.Context(), o)
		if err == nil {
			s.Close()
		}
		if errs.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, want %d: %v", name, errs.Code(err), c.code, err)
		}
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
