package files_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
)

// A document that is not read is said to be empty, cut short or of another encoding, not in a parser's words.
func TestNotJSON(t *testing.T) {
	for content, want := range map[string]string{
		"":                                "the file is empty",
		`{"a":`:                           "is cut short",
		"\xff\xfe{\x00}\x00":              "the text is UTF-16",
		"\xfe\xff\x00{\x00}":              "the text is UTF-16",
		"<html>":                          "not the JSON that is wanted",
		"\xef\xbb\xbf{}":                  "a byte order mark",
		"{\n \"b\": 1,\n \"eps\": NaN\n}": "line 3, after `\"eps\": `: invalid character 'N'",
		`{"a": 1,}`:                       "line 1, after `{\"a\": 1,`: invalid character '}'",
		`{"a": 1} {"a": 2}`:               "after the end",
		`["a"]`:                           "where an object is wanted",
	} {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := files.ReadJSON(path, &v); errs.Code(err) != 4 || !strings.Contains(err.Error(), path+": ") ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
}

// A name that is no UTF-8 comes back from a document as it was written there, and two names stay two.
func TestKept(t *testing.T) {
	for name, want := range map[string]string{"a b.txt": "a b.txt", "é\uFFFD": "é\uFFFD", "caf\xE9.txt": `caf\xE9.txt`,
		"\xFF\xFE": `\xFF\xFE`, "x\xC3": `x\xC3`} {
		var back string
		b, err := json.Marshal(files.Kept(name))
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if err != nil || files.Kept(name) != want || back != want {
			t.Errorf("%q: %q, back %q, %v", name, files.Kept(name), back, err)
		}
	}
}
