package data

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
)

// Folders that datasets wrote are read as it reads them: in the order of state.json, the train split alone, without
// what map and filter leave beside the data.
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

// What is wrong with a table is said with the file, and the row where it is one's.
func TestArrowFaults(t *testing.T) {
	b, err := os.ReadFile("testdata/tables/saved/data-00000-of-00002.arrow")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ content, field, want string }{
		"cut.arrow":    {string(b[:len(b)-60]), "text", "truncated"},
		"field.arrow":  {string(b), "body", "row 1: none of the fields \"body\" (--text-field), "},
		"number.arrow": {string(b), "n", `row 1: field "n" is a number, not a string`},
	} {
		o := realOptions(t, write(t, name, c.content), "pad", 8)
		o.TextField, o.TextNamed = c.field, true
		if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) ||
			!strings.Contains(err.Error(), name) {
			t.Errorf("%s: exit %d: %v", name, errs.Code(err), err)
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
	o := realOptions(t, "arrow/testdata/big.arrow", "pad", 1<<13)
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

// A few bytes that claim thousands of millions of rows or elements are refused.
func TestArrowClaims(t *testing.T) {
	for name, want := range map[string]string{"claims-rows.arrow": `row 1: field "text" is null`, "claims-list.arrow": "row 1: longer than 1 GiB"} {
		o := realOptions(t, filepath.Join("arrow/testdata", name), "pad", 8)
		if _, err := Open(t.Context(), o); errs.Code(err) != 4 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
