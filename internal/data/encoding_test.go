package data

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/parquet-go/parquet-go"

	"longlora/internal/errs"
)

// wideText writes a text in units of two or four bytes.
func wideText(o binary.AppendByteOrder, size int, s string) string {
	var b []byte
	if size == 4 {
		for _, r := range s {
			b = o.AppendUint32(b, uint32(r))
		}
		return string(b)
	}
	for _, u := range utf16.Encode([]rune(s)) {
		b = o.AppendUint16(b, u)
	}
	return string(b)
}

// UTF-16 with a mark is read in texts and records, plain and compressed; what else can be told is refused by name.
func TestEncodings(t *testing.T) {
	le, be := binary.LittleEndian, binary.BigEndian
	const s = "Anna 1 . na\u00efve \U0001f600 text"
	record := "{\"text\": \"" + s + "\"}\n"
	for _, c := range []struct{ name, content, refused string }{
		{"le.txt", wideText(le, 2, "\ufeff"+s), ""},
		{"be.txt", wideText(be, 2, "\ufeff"+s), ""},
		{"le.jsonl", wideText(le, 2, "\ufeff"+record), ""},
		{"be.json", wideText(be, 2, "\ufeff["+record+"]"), ""},
		{"mark.txt", "\ufeff" + s, ""},
		{"le32.txt", wideText(le, 4, "\ufeff"+s), "UTF-32"},
		{"be32.jsonl", wideText(be, 4, "\ufeff"+record), "UTF-32"},
		{"bare16.txt", wideText(le, 2, s), "UTF-16LE without a byte order mark, which is not read; convert it to UTF-8 (iconv -f UTF-16LE -t UTF-8)"},
		{"bare16.jsonl", wideText(be, 2, record), "UTF-16BE without a byte order mark"},
		{"bare32.txt", wideText(be, 4, s), "UTF-32BE without"},
		{"gb.txt", "\x84\x31\x95\x33text", "GB18030"},
		{"doc.txt", "%PDF-1.7\n", "PDF"},
		{"doc.md", "PK\x03\x04\x14\x00\x00\x00", "ZIP"},
		{"rows.jsonl", "PAR1\x15\x04\x15\x10", "parquet"},
		{"archive.txt", "a.txt" + strings.Repeat("\x00", 252) + "ustar\x0000", "a tar archive"},
		{"old.jsonl", "]\x00\x00\x80\x00", "LZMA data"},
		{"array.txt", "\x93NUMPY\x01\x00v\x00", "a NumPy array"},
		{"saved.txt", "\x80\x04\x95\x00", "a pickle"},
		{"letter.md", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office program"},
		{"letter.txt", `{\rtf1\ansi text}`, "RTF"},
	} {
		for _, ext := range []string{"", ".gz", ".zst"} {
			o := realOptions(t, write(t, c.name+ext, packed(t, ext, c.content)), "pad", 1<<10)
			x, err := Open(t.Context(), o)
			if c.refused != "" {
				if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.refused) || !strings.Contains(err.Error(), c.name) {
					t.Errorf("%s%s: %v, which does not say %q", c.name, ext, err, c.refused)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s%s: %v", c.name, ext, err)
				continue
			}
			if got, err := o.Encoder.Decode(x.Row(0).IDs); err != nil || got != "<s>"+s+"</s>" {
				t.Errorf("%s%s: %q", c.name, ext, got)
			}
			x.Close()
		}
	}
}

// What only looks like another encoding at its beginning is the text that it is.
func TestTextIsNotTakenForAnother(t *testing.T) {
	for _, s := range []string{"PARIS", "PAR1S is a town", "BZhang wrote", "GIF89a is a format", "%PD", "a\x00b", "\x00\x00\x00\x00\x00\x00\x00\x00", "a\x00b\x00 and so on, and so on", "GGUF files hold models"} {
		if got := texts(t, realOptions(t, write(t, "a.txt", s), "", 0)); !reflect.DeepEqual(got, []string{"<s>" + s + "</s>"}) {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// Compression is known by a file's bytes where its name does not tell; a name that tells wrong is refused.
func TestCompressionByContent(t *testing.T) {
	for _, ext := range []string{".gz", ".zst"} {
		if got := texts(t, realOptions(t, write(t, "a.jsonl", packed(t, ext, "{\"text\":\"one\"}\n")), "", 0)); !reflect.DeepEqual(got, []string{"<s>one</s>"}) {
			t.Errorf("%s: %q", ext, got)
		}
		if _, err := Open(t.Context(), realOptions(t, write(t, "a.jsonl"+ext, "{\"text\":\"one\"}\n"), "", 8)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "its name says") {
			t.Errorf("%s: %v", ext, err)
		}
	}
}

// What was compressed twice, what does not end as it began, and what no name tells is said to be so.
func TestCompressionFaults(t *testing.T) {
	const line = "{\"text\":\"one\"}\n"
	gz, zst := packed(t, ".gz", line), packed(t, ".zst", line)
	bent := []byte(gz)
	bent[len(bent)-6] ^= 1
	for _, c := range []struct{ name, content, want string }{
		{"a.jsonl.gz", packed(t, ".gz", gz), "gzip data, compressed twice"},
		{"a.jsonl.zst", packed(t, ".zst", zst), "zstd data, compressed twice"},
		{"a.jsonl.gz", gz + "more", "what follows its compressed data is none"},
		{"a.jsonl.zst", zst + "more", "what follows its compressed data is none"},
		{"a.jsonl.gz", string(bent), "its compressed data is damaged"},
		{"a.xz", "\xfd7zXZ\x00", "xz data; decompress it"},
		{"a", gz, "name it .txt.gz"},
		{"a.tar", strings.Repeat("\x00", 257) + "ustar", "a tar archive"},
		{"a", "text", "--format text"},
	} {
		_, err := Open(t.Context(), realOptions(t, write(t, c.name, c.content), "", 8))
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%s: %v, which does not say %q", c.name, err, c.want)
		}
	}
	padded := realOptions(t, write(t, "a.jsonl.gz", gz+strings.Repeat("\x00", 1<<10)+gz+"\x00"), "", 0)
	if got := texts(t, padded); !reflect.DeepEqual(got, []string{"<s>one</s>", "<s>one</s>"}) {
		t.Errorf("padded: %q", got)
	}
}

// Bytes that are no UTF-8 are counted as they are replaced, however they come, and said once for all files.
func TestReplacedIsSaid(t *testing.T) {
	bad := "a\nb\xe9\xe2\x82 \xf0\x9f\x98" // three places, in the second line
	type row struct {
		Text []byte `parquet:"text"`
	}
	var pq bytes.Buffer
	if err := parquet.Write(&pq, []row{{[]byte("one")}, {[]byte(bad)}}); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"a.txt": bad, "a.txt.gz": packed(t, ".gz", bad), "a.jsonl": "{\"text\":\"one\"}\n{\"text\":\"" + bad[2:] + "\"}\n",
		"a.csv": "text\n" + bad[2:] + "\n", "a.parquet": pq.String(),
	} {
		var log bytes.Buffer
		o := realOptions(t, write(t, name, content), "", 0)
		o.Log = &log
		texts(t, o)
		unit := " 2 of "
		if name == "a.parquet" {
			unit = "row 2 of "
		}
		if !strings.Contains(log.String(), "3 places are no UTF-8 and are read as U+FFFD") || !strings.Contains(log.String(), unit) {
			t.Errorf("%s: %s", name, log.String())
		}
	}
}
