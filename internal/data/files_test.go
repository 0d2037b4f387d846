package data

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"longlora/internal/errs"
)

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
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err == nil {
		_, err = io.Copy(w, &grower{65 << 20})
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
