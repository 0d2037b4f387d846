package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"longlora/internal/errs"
)

// What is wrong with a table is said with the file, and the row where it is one's.
func TestArrowFaults(t *testing.T) {
	b, err := os.ReadFile("arrow/testdata/plain.arrow")
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
