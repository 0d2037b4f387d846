package data

import (
	"bytes"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"longlora/internal/errs"
)

func parquetOf[T any](t *testing.T, rows ...T) string {
	t.Helper()
	var b bytes.Buffer
	if err := parquet.Write(&b, rows, parquet.Compression(&parquet.Zstd)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type textRow struct {
	Text string `parquet:"text"`
	N    int64  `parquet:"n"`
}

type alpacaRow struct {
	Instruction string  `parquet:"instruction"`
	Input       *string `parquet:"input,optional"`
	Output      string  `parquet:"output"`
}

type turnRow struct {
	Role    string `parquet:"role"`
	Content string `parquet:"content"`
}

type chatRow struct {
	Messages []turnRow `parquet:"messages,list"`
	ID       string    `parquet:"id"`
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
		x, err := opened(t, write(t, "a.parquet", string(b)))
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		r, err := newParquetRows(x, []string{"text"}, 1<<30)
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
func TestParquetShapes(t *testing.T) {
	read := func(name string) string {
		b, err := os.ReadFile("testdata/tables/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	groups, pq := read("groups.parquet"), parquetOf(t, textRow{"one", 1}, textRow{"two", 2})
	if got := texts(t, realOptions(t, "testdata/tables/groups.parquet", "", 0)); !slices.Equal(got, []string{"<s>one</s>", "<s>two</s>"}) {
		t.Errorf("groups without rows: %q", got)
	}
	for name, c := range map[string]struct{ content, want string }{
		"none.parquet":    {read("none.parquet"), "the file holds no document"},
		"twice.parquet":   {read("twice.parquet"), `two of its columns are named "text"`},
		"joined.parquet":  {pq + pq, "several files joined into one"},
		"joined2.parquet": {groups + parquetOf(t, textRow{"one", 1}), "several files joined into one"},
		"joined3.parquet": {parquetOf(t, textRow{"one", 1}) + groups, "several files joined into one"},
	} {
		_, err := Open(t.Context(), realOptions(t, write(t, name, c.content), "", 8))
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, which does not say %q", name, err, c.want)
		}
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

type repeatedRow struct {
	Text string `parquet:"text,dict"`
	N    int64  `parquet:"n"`
}

// Long cells of a table are the documents that they would be elsewhere.
func TestLongCells(t *testing.T) {
	smallParts(t)
	long := strings.Repeat("the otter is in the inn. ", 1000)
	want := []string{"<s>a</s>", "<s>" + long + "</s>", "<s>b</s>"}
	if got := texts(t, realOptions(t, write(t, "a.parquet", parquetOf(t, textRow{"a", 1}, textRow{long, 2}, textRow{"b", 3})), "", 0)); !reflect.DeepEqual(got, want) {
		t.Errorf("%d documents: %.200q", len(got), got)
	}
}

// A footer takes a hundred times its bytes of memory: one that is too long for the host memory is refused before it is
// read.
func TestLongFooter(t *testing.T) {
	o := options(write(t, "a.parquet", parquetOf(t, textRow{"one", 1})), "pad", 64)
	defer func(n int64) { plainFooter = n }(plainFooter)
	plainFooter, o.HostMem = 0, 16<<10
	if _, err := Open(t.Context(), o); errs.Code(err) != 3 || !strings.Contains(err.Error(), "a.parquet: its footer has ") {
		t.Errorf("%v", err)
	}
}
