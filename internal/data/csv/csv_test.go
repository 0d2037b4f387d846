package csv

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"longlora/internal/data/plaintext"
	"longlora/internal/data/record"
)

// pandasCase is a table as pandas reads it: scripts/gen-table-cases.py made them.
type pandasCase struct {
	Name, CSV string // one letter a byte
	Columns   []string
	Rows      [][]*string
}

func pandasCases(t testing.TB) []pandasCase {
	t.Helper()
	b, err := os.ReadFile("testdata/csv.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []pandasCase }
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for i := range all.Cases {
		c := &all.Cases[i]
		var raw []byte
		for _, r := range c.CSV {
			raw = append(raw, byte(r))
		}
		c.CSV = string(raw)
	}
	return all.Cases
}

// csvOf opens a table that comes as a reader gives it.
func csvOf(r io.Reader, name string, a record.Want) (record.Rows, error) {
	u, err := plaintext.Reader(r)
	if err != nil {
		return nil, err
	}
	return New(u, name, a)
}

// Tables are read as pandas reads them, in whatever pieces they come.
func TestAsPandasReadsIt(t *testing.T) {
	cases := pandasCases(t)
	if len(cases) < 20 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, c := range cases {
		want := slices.DeleteFunc(slices.Clone(c.Columns), func(n string) bool { return slices.Contains(c.Columns, n+".1") }) // which of them?
		for way, r := range map[string]io.Reader{"whole": strings.NewReader(c.CSV), "by byte": iotest.OneByteReader(strings.NewReader(c.CSV))} {
			x, err := csvOf(r, "a.csv", record.Want{Columns: want, Long: 1 << 20})
			if err != nil {
				t.Errorf("%s, %s: %v", c.Name, way, err)
				continue
			}
			if !slices.Equal(x.Columns(), c.Columns) {
				t.Errorf("%s, %s: columns %q, want %q", c.Name, way, x.Columns(), c.Columns)
			}
			for i := 0; ; i++ {
				row, _, bad, err := x.Next()
				if err == io.EOF && i == len(c.Rows) {
					break
				}
				if bad != nil || err != nil || i == len(c.Rows) {
					t.Errorf("%s, %s: row %d: %v, %v", c.Name, way, i, bad, err)
					break
				}
				right := map[string]any{}
				for k, v := range c.Rows[i] {
					if n := c.Columns[k]; v != nil {
						right[n] = *v
					} else {
						right[n] = nil
					}
				}
				maps.DeleteFunc(right, func(n string, _ any) bool { return !slices.Contains(want, n) })
				if !reflect.DeepEqual(row, right) {
					t.Errorf("%s, %s: row %d: %q, want %q", c.Name, way, i, row, right)
				}
			}
		}
	}
}

func FuzzCSV(f *testing.F) {
	for _, c := range pandasCases(f) {
		f.Add(c.CSV, byte(7))
	}
	f.Add("a,b\n\"", byte(0))
	f.Fuzz(func(t *testing.T, s string, most byte) {
		read := func(r io.Reader, a record.Want) (out []map[string]any, text string) {
			x, err := csvOf(r, "a.csv", a)
			if err != nil {
				return nil, err.Error()
			}
			for n := 0; ; n++ {
				row, line, bad, err := x.Next()
				if bad == record.ErrLong {
					bad, err = x.Rest(func(b []byte) error { text += string(b); return nil })
					row = nil
				}
				if err != nil {
					return out, text + err.Error()
				}
				if line < 1 || line > len(s)+1 || n > len(s) {
					t.Fatalf("row %d at line %d of %q", n, line, s)
				}
				if bad != nil {
					text += bad.Error()
				}
				out = append(out, row)
			}
		}
		a := record.Want{Columns: []string{"text", "b"}, Text: "text", Long: int(most)}
		rows, text := read(strings.NewReader(s), a)
		again, same := read(iotest.OneByteReader(strings.NewReader(s)), a)
		if text != same || !reflect.DeepEqual(rows, again) {
			t.Fatalf("%q: %q %q, by byte %q %q", s, rows, text, again, same)
		}
	})
}
