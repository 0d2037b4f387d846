package parquet

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"longlora/internal/data/record"
	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/testkit/documents"
)

type textRow struct {
	Text string `parquet:"text"`
	N    int64  `parquet:"n"`
}

// written is a parquet file.
func written(t *testing.T, rows ...textRow) string {
	t.Helper()
	var b bytes.Buffer
	if err := parquet.Write(&b, rows, parquet.Compression(&parquet.Zstd)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func FuzzParquet(f *testing.F) {
	var b bytes.Buffer
	if err := parquet.Write(&b, []textRow{{"one", 1}, {"two", 2}}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 1<<16 {
			return
		}
		x := documents.Opened(t, testkit.Temp(t, "a.parquet", string(b)))
		r, err := New(x, record.Want{Columns: []string{"text"}, Most: 1 << 30})
		if err != nil {
			return
		}
		defer r.Close()
		for range 1000 {
			if _, _, _, err := r.Next(); err != nil {
				return
			}
		}
	})
}

// Groups without rows are passed over; what a reader would only see a part of is refused.
func TestShapes(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	groups, pq := read("groups.parquet"), written(t, textRow{"one", 1}, textRow{"two", 2})
	for name, c := range map[string]struct {
		content, want string
		rows          int
	}{
		"groups.parquet":  {groups, "", 2},
		"none.parquet":    {read("none.parquet"), "", 0},
		"twice.parquet":   {read("twice.parquet"), `two of its columns are named "text"`, 0},
		"joined.parquet":  {pq + pq, "several files joined into one", 0},
		"joined2.parquet": {groups + written(t, textRow{"one", 1}), "several files joined into one", 0},
		"joined3.parquet": {written(t, textRow{"one", 1}) + groups, "several files joined into one", 0},
	} {
		x := documents.Opened(t, testkit.Temp(t, name, c.content))
		r, err := New(x, record.Want{Columns: []string{"text"}, Most: 1 << 30})
		if c.want != "" {
			if err = x.Fault(err); errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %v, which does not say %q", name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []any
		for range c.rows {
			m, _, bad, err := r.Next()
			if bad != nil || err != nil {
				t.Fatalf("%s: %v, %v", name, bad, err)
			}
			got = append(got, m["text"])
		}
		if _, _, _, err := r.Next(); err != io.EOF || c.rows == 2 && !slices.Equal(got, []any{"one", "two"}) {
			t.Errorf("%s: %v, then %v", name, got, err)
		}
		r.Close()
	}
}

// A fault that the library meets in a damaged file is told of the file, not of the library's code.
func TestCaught(t *testing.T) {
	none := []int{}
	for want, fault := range map[string]func(){
		"damaged parquet file: its parts do not agree; get it again": func() { _ = none[len(none)] },
		"damaged parquet file: no such page; get it again":           func() { panic("no such page") },
	} {
		err := func() (err error) {
			defer caught(&err)
			fault()
			return nil
		}()
		if err == nil || err.Error() != want {
			t.Errorf("%v, not %s", err, want)
		}
	}
}

// A footer takes a hundred times its bytes of memory: one that is too long for the host memory is refused before it is
// read.
func TestLongFooter(t *testing.T) {
	defer func(n int64) { plainFooter = n }(plainFooter)
	plainFooter = 0
	x := documents.Opened(t, testkit.Temp(t, "a.parquet", written(t, textRow{"one", 1})))
	_, err := New(x, record.Want{Columns: []string{"text"}, Most: 1 << 10})
	if err = x.Fault(err); errs.Code(err) != 3 || !strings.Contains(err.Error(), "a.parquet: its footer has ") {
		t.Errorf("%v", err)
	}
}
