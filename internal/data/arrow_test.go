package data

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longlora/internal/data/datafile"
	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// arrowCase is a file and what pyarrow reads from it: scripts/gen-table-cases.py made them.
type arrowCase struct {
	File    string
	Columns []string
	Rows    [][]string // JSON
}

func arrowCases(t testing.TB) []arrowCase {
	t.Helper()
	b, err := os.ReadFile("testdata/tables/rows.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []arrowCase }
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all.Cases
}

// arrowRowsOf are a file's rows as JSON.
func arrowRowsOf(t *testing.T, path string, want []string) (names []string, out [][]string) {
	t.Helper()
	x, err := opened(t, path)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	r, err := newArrowRows(x, record.Want{Columns: want, Most: 1 << 20})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer r.Close()
	for {
		m, row, bad, err := r.Next()
		if err == io.EOF {
			return r.Columns(), out
		}
		if bad != nil || err != nil || row != len(out)+1 {
			t.Fatalf("%s: row %d: %v, %v", path, row, bad, err)
		}
		var values []string
		for _, n := range want {
			values = append(values, record.PythonJSON(m[n], 0))
		}
		out = append(out, values)
	}
}

// Every layout gives the values that pyarrow reads, whether what is compressed is held or put on the disk.
func TestArrowAsPyarrowReadsIt(t *testing.T) {
	cases := arrowCases(t)
	if len(cases) < 10 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, whole := range []int64{8 << 20, 64} {
		old := arrowWhole
		arrowWhole = whole
		t.Cleanup(func() { arrowWhole = old })
		for _, c := range cases {
			path := filepath.Join("testdata/tables", c.File)
			_, got := arrowRowsOf(t, path, c.Columns)
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
			_, alone := arrowRowsOf(t, path, c.Columns[last:])
			for i := range alone {
				if alone[i][0] != c.Rows[i][last] {
					t.Errorf("%s: row %d, %s alone: %s", c.File, i+1, c.Columns[last], alone[i][0])
				}
			}
		}
	}
}

// Folders that datasets wrote are read as it reads them: in the order of state.json, the train split alone, without what
// map and filter leave beside the data.
func TestSavedByDatasets(t *testing.T) {
	copied := func(from string) string {
		to := t.TempDir()
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return to
	}
	all := []string{"<s>one</s>", "<s>two</s>", "<s>three</s>"}
	turned := copied("testdata/tables/saved")
	state := filepath.Join(turned, "state.json")
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	edit := func(old, new string) {
		s := strings.ReplaceAll(text, old, new)
		if s == text {
			t.Fatalf("%s has no %s", text, old)
		}
		if err := os.WriteFile(state, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(path string, want []string, says ...string) {
		t.Helper()
		var log bytes.Buffer
		o := realOptions(t, path, "", 0)
		o.Log = &log
		if got := texts(t, o); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		for _, s := range says {
			if !strings.Contains(log.String(), s) {
				t.Errorf("%s: %s does not say %s", path, log.String(), s)
			}
		}
	}
	check("testdata/tables/saved", all, "1 file is left out, not of the data set that state.json names: cache-0123456789abcdef.arrow", "left out as metadata: dataset_info.json, state.json")
	check("testdata/tables/splits", all[:1], "2 files are left out, of other splits than the one to train on (name one to read it): extra/data-00000-of-00001.arrow, test/")
	check("testdata/tables/splits/extra", all[2:])
	edit("data-00000-of-00002", "data-x")
	check(filepath.Join(turned, "data-00001-of-00002.arrow"), all[2:])
	if _, err := Open(t.Context(), realOptions(t, turned, "pad", 8)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "there is no data-x.arrow beside it") {
		t.Errorf("a file that is gone: %v", err)
	}
	edit("data-00000-of-00002", "data-00001-of-00002")
	check(turned, all[2:], "left out, not of the data set")
	edit(`"data-00000-of-00002.arrow"`, `"data-00001-of-00002.arrow"}, {"filename": "data-00000-of-00002.arrow"`)
	check(turned, []string{all[2], all[0], all[1]})
	edit(`"_split"`, `"_indices_files": [{"filename": "indices.arrow"}], "_split"`)
	for _, p := range []string{turned, filepath.Join(turned, "data-00000-of-00002.arrow")} {
		if _, err := Open(t.Context(), realOptions(t, p, "pad", 8)); errs.Code(err) != 4 || !strings.Contains(err.Error(), `field "_indices_files"`) || !strings.Contains(err.Error(), "flatten_indices()") {
			t.Errorf("rows by a list: %v", err)
		}
	}
	for _, lost := range []string{"train", "none"} {
		dir := copied("testdata/tables/splits")
		if err := os.Rename(filepath.Join(dir, "train"), filepath.Join(dir, "moved")); err != nil {
			t.Fatal(err)
		}
		if lost == "none" {
			if err := os.WriteFile(filepath.Join(dir, "dataset_dict.json"), []byte(`{"splits": ["extra", "moved", "test"]}`), 0o644); err != nil {
				t.Fatal(err)
			}
			check(dir, []string{all[2], all[0], all[1]})
		} else if _, err := Open(t.Context(), realOptions(t, dir, "pad", 8)); errs.Code(err) != 4 || !strings.Contains(err.Error(), `field "splits": there is no folder train`) {
			t.Errorf("a split that is gone: %v", err)
		}
	}
}

// What is no Arrow file, or a damaged one, is a data error that says so; a small one takes no memory.
func TestArrowFaults(t *testing.T) {
	b, err := os.ReadFile("testdata/tables/saved/data-00000-of-00002.arrow")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile("testdata/tables/delta-file.arrow")
	if err != nil {
		t.Fatal(err)
	}
	hard, err := os.ReadFile("testdata/tables/hard.arrow")
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
		"field.arrow":   {string(b), "body", []string{"row 1", "it has text, n"}},
		"decimal.arrow": {string(hard), "decimal", []string{`field "decimal" is of Arrow's type decimal`}},
		"views.arrow":   {string(hard), "list_view", []string{`field "list_view" is of Arrow's type list_view`}},
		"number.arrow":  {string(b), "n", []string{`row 1: field "n" is a number, not a string`}},
	} {
		o := realOptions(t, write(t, name, c.content), "pad", 8)
		o.TextField, o.TextNamed = c.field, true
		_, err := Open(t.Context(), o)
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
	for _, ext := range []string{".gz", ".zst"} {
		if got := texts(t, realOptions(t, write(t, "a.arrow"+ext, packed(t, ext, string(b))), "", 0)); !slices.Equal(got, []string{"<s>one</s>", "<s>two</s>"}) {
			t.Errorf("%s: %q", ext, got)
		}
	}
}

// A row may have its share of the memory, and is one fault beyond.
func TestArrowLongRows(t *testing.T) {
	o := realOptions(t, "testdata/tables/big.arrow", "pad", 1<<13)
	o.HostMem = 1500 * recordShare
	if _, err := Open(t.Context(), o); errs.Code(err) != 3 || !strings.Contains(err.Error(), "big.arrow: row 2") {
		t.Errorf("exit %d: %v", errs.Code(err), err)
	}
	o.SkipBad = true
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st := s.Stats(0); st.Documents != 2 || st.Skipped != 2 {
		t.Errorf("%+v", st)
	}
}

// A few bytes that claim thousands of millions of rows or elements are refused before they take memory or time.
func TestArrowClaims(t *testing.T) {
	for name, want := range map[string]string{"claims-rows.arrow": `row 1: field "text" is null`, "claims-list.arrow": "row 1: longer than 1 GiB"} {
		o := realOptions(t, filepath.Join("testdata/tables", name), "pad", 8)
		if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		x, err := opened(t, filepath.Join("testdata/tables", name))
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		if err := x.Grow(64 << 20); err != nil { // as after many rows
			t.Fatal(err)
		}
		r, err := newArrowRows(x, record.Want{Columns: []string{"text", "messages"}, Most: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		m, _, bad, err := r.Next()
		if err == nil {
			err = grown(x, datafile.Arrow, m)
		}
		if err == nil && bad == nil {
			t.Errorf("%s: %v is believed", name, m)
		}
	}
}

func FuzzArrow(f *testing.F) {
	for _, c := range arrowCases(f) {
		b, err := os.ReadFile(filepath.Join("testdata/tables", c.File))
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
		x, err := opened(t, write(t, "a.arrow", string(b)))
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		r, err := newArrowRows(x, record.Want{Columns: want, Most: 1 << 16})
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
