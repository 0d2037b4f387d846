package arrow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/data/datafile"
	"longlora/internal/data/record"
	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/testkit/documents"
)

// pyarrowCase is a file and what pyarrow reads from it: scripts/gen-table-cases.py made them.
type pyarrowCase struct {
	File    string
	Columns []string
	Rows    [][]string // JSON
}

func pyarrowCases(t testing.TB) []pyarrowCase {
	t.Helper()
	b, err := os.ReadFile("testdata/rows.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []pyarrowCase }
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all.Cases
}

// rowsOf are the names of all columns, and the rows of some of them, as JSON.
func rowsOf(x *datafile.File, want []string) (names []string, out [][]string, err error) {
	r, err := New(x, record.Want{Columns: want, Most: 1 << 20})
	if err != nil {
		return nil, nil, x.Fault(err)
	}
	defer r.Close()
	for {
		m, row, bad, err := r.Next()
		if err == io.EOF {
			return r.Columns(), out, nil
		}
		if bad != nil || err != nil {
			return nil, out, x.Fault(cmp.Or(bad, err))
		}
		if row != len(out)+1 {
			return nil, out, fmt.Errorf("row %d after %d", row, len(out))
		}
		var values []string
		for _, n := range want {
			values = append(values, record.PythonJSON(m[n], 0))
		}
		out = append(out, values)
	}
}

// Every layout gives the values that pyarrow reads, whether what is compressed is held or put on the disk.
func TestAsPyarrowReadsIt(t *testing.T) {
	cases := pyarrowCases(t)
	if len(cases) < 10 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, whole := range []int64{8 << 20, 64} {
		old := wholeBuffer
		wholeBuffer = whole
		t.Cleanup(func() { wholeBuffer = old })
		for _, c := range cases {
			path := filepath.Join("testdata", c.File)
			names, got, err := rowsOf(documents.Opened(t, path), c.Columns)
			if err != nil || len(names) < len(c.Columns) {
				t.Errorf("%s: columns %q: %v", c.File, names, err)
			}
			if len(got) != len(c.Rows) {
				t.Errorf("%s: %d rows, want %d", c.File, len(got), len(c.Rows))
				continue
			}
			for i := range got {
				for k := range got[i] {
					if got[i][k] != c.Rows[i][k] {
						t.Errorf("%s: row %d, %s: %s, want %s", c.File, i+1, c.Columns[k], got[i][k], c.Rows[i][k])
					}
				}
			}
			// one column alone is the same
			last := len(c.Columns) - 1
			_, alone, err := rowsOf(documents.Opened(t, path), c.Columns[last:])
			if err != nil || len(alone) != len(got) {
				t.Errorf("%s, %s alone: %d rows: %v", c.File, c.Columns[last], len(alone), err)
			}
			for i := range alone {
				if alone[i][0] != c.Rows[i][last] {
					t.Errorf("%s: row %d, %s alone: %s", c.File, i+1, c.Columns[last], alone[i][0])
				}
			}
		}
	}
}

// What is no Arrow file, or a damaged one, is a data error that says so; a small one takes no memory.
func TestFaults(t *testing.T) {
	b, err := os.ReadFile("testdata/plain.arrow")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile("testdata/delta-file.arrow")
	if err != nil {
		t.Fatal(err)
	}
	hard, err := os.ReadFile("testdata/hard.arrow")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content, field string
		want           []string
	}{
		"joined.arrow":  {string(b) + string(b), "text", []string{"several files joined into one"}},
		"joined2.arrow": {string(whole) + string(whole), "named", []string{"several files joined into one"}},
		"cut.arrow":     {string(b[:len(b)-60]), "text", []string{"truncated"}},
		"head.arrow":    {"\xff\xff\xff\xff\x78\x00\x00\x00", "text", []string{"truncated"}},
		"file.arrow":    {string(whole[:len(whole)-20]), "text", []string{"truncated"}},
		"none.arrow":    {"\xff\xff\xff\xff\x00\x00\x00\x00", "text", []string{"schema"}},
		"text.arrow":    {"some text or other", "text", []string{"is it an Arrow file?"}},
		"one.feather":   {"FEA1\x00\x00\x00\x00FEA1", "text", []string{"version 1", "write_feather"}},
		"decimal.arrow": {string(hard), "decimal", []string{`field "decimal" is of Arrow's type decimal`}},
		"views.arrow":   {string(hard), "list_view", []string{`field "list_view" is of Arrow's type list_view`}},
	} {
		x := documents.Opened(t, testkit.Temp(t, name, c.content))
		_, _, err := rowsOf(x, []string{c.field})
		if errs.Code(err) != 4 {
			t.Errorf("%s: exit %d: %v", name, errs.Code(err), err)
			continue
		}
		for _, w := range append(c.want, name) {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
	}
}

// A few bytes that claim thousands of millions of rows or elements are refused before they take memory or time.
func TestClaims(t *testing.T) {
	for _, name := range []string{"claims-rows.arrow", "claims-list.arrow"} {
		x := documents.Opened(t, filepath.Join("testdata", name))
		if err := x.Grow(64 << 20); err != nil { // as after many rows
			t.Fatal(err)
		}
		r, err := New(x, record.Want{Columns: []string{"text", "messages"}, Most: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		m, _, bad, err := r.Next()
		if err == nil {
			err = x.Grow(int64(record.SizeOf(m)))
		}
		if err == nil && bad == nil {
			t.Errorf("%s: %v is believed", name, m)
		}
	}
}

func FuzzArrow(f *testing.F) {
	for _, c := range pyarrowCases(f) {
		b, err := os.ReadFile(filepath.Join("testdata", c.File))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	want := []string{"text", "large", "view", "bytes_view", "fixed", "none", "yes", "i8", "u64", "half", "chat", "large_list", "pairs", "deep", "struct", "named", "in_list"}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 1<<16 {
			return
		}
		x := documents.Opened(t, testkit.Temp(t, "a.arrow", string(b)))
		r, err := New(x, record.Want{Columns: want, Most: 1 << 16})
		if err != nil {
			return
		}
		defer r.Close()
		for range 100 {
			m, _, _, err := r.Next()
			if err != nil {
				return
			}
			if n := record.SizeOf(m); n > 1<<17 {
				t.Fatalf("a row of %d bytes", n)
			}
		}
	})
}
