package plaintext

import (
	"strings"
	"testing"
)

// What is text in UTF-8, or says that it is in UTF-16, is read; the rest is refused by what it is.
func TestReader(t *testing.T) {
	for _, c := range []struct{ text, want, refused string }{
		{"naïve", "naïve", ""},
		{"", "", ""},
		{"\ufeffa", "a", ""},
		{"\xff\xfea\x00\xe9\x00", "aé", ""},
		{"\xfe\xff\x00a\xd8\x3d\xde\x00", "a\U0001f600", ""},
		{"a\xffb\xe2\x82", "a\ufffdb\ufffd", ""},
		{"PARIS", "PARIS", ""},
		{"a\x00b", "a\x00b", ""},
		{"\xff\xfe\x00\x00a\x00\x00\x00", "", "the text is UTF-32, which is not read"},
		{"a\x00b\x00c\x00d\x00", "", "UTF-16LE without a byte order mark"},
		{"\x84\x31\x95\x33x", "", "GB18030"},
		{"%PDF-1.7", "", "not text, but a PDF document"},
		{"\x1f\x8b\x08", "", "gzip data, compressed twice"},
	} {
		got, note, err := Read(strings.NewReader(c.text), 100)
		if c.refused != "" {
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%q: %v, which does not say %q", c.text, err, c.refused)
			}
		} else if err != nil || got != c.want || (note != "") != strings.Contains(got, "\ufffd") {
			t.Errorf("%q: %q, note %q, %v", c.text, got, note, err)
		}
	}
	if _, _, err := Read(strings.NewReader("abc"), 2); err == nil {
		t.Error("more than the limit is read")
	}
}
