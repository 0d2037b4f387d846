// Package plaintext reads text as UTF-8: it converts the other encodings that can be told for certain, refuses what is
// no text by saying what it is, and counts the places that are no UTF-8 after all.
package plaintext

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// marks are what stands at the front of a text of another encoding than UTF-8. The longer of two that begin alike
// comes first.
var marks = []struct{ bytes, name string }{
	{"\xff\xfe\x00\x00", "UTF-32"},
	{"\x00\x00\xfe\xff", "UTF-32"},
	{"\xff\xfe", "UTF-16LE"},
	{"\xfe\xff", "UTF-16BE"},
	{"\xef\xbb\xbf", "UTF-8"},
	{"\x84\x31\x95\x33", "GB18030"},
}

// others are the first bytes of files that are no text, whatever their names say.
var others = []struct{ bytes, name string }{
	{"%PDF-", "a PDF document"},
	{"PK\x03\x04", "a ZIP archive (or a document kept in one: .docx, .epub, .xlsx)"},
	{"PAR1", "a parquet file; name it .parquet"},
	{"ARROW1", "an Arrow file; name it .arrow"},
	{"\x1f\x8b", "gzip data, compressed twice; decompress it once (gunzip)"},
	{"\x28\xb5\x2f\xfd", "zstd data, compressed twice; decompress it once (unzstd)"},
	{"BZh", "bzip2 data; decompress it (bunzip2)"},
	{"\xfd7zXZ\x00", "xz data; decompress it (unxz)"},
	{"]\x00\x00", "LZMA data; decompress it (unlzma)"},
	{"\x04\x22\x4d\x18", "lz4 data; decompress it (unlz4)"},
	{"\x1f\x9d", "data of compress; decompress it (uncompress)"},
	{"\xff\x06\x00\x00sNaPpY", "snappy data; decompress it"},
	{"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"},
	{"Rar!\x1a\x07", "a RAR archive; unpack it"},
	{"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document of an office program (.doc, .xls); save it as text"},
	{"{\\rtf", "an RTF document; save it as text"},
	{"\x89PNG\r\n", "a PNG image"},
	{"\xff\xd8\xff", "a JPEG image"},
	{"GIF8", "a GIF image"},
	{"SQLite format 3\x00", "an SQLite database"},
	{"\x7fELF", "a program"},
	{"GGUF", "a GGUF model"},
	{"\x89HDF\r\n", "an HDF5 file"},
	{"\x93NUMPY", "a NumPy array"},
	{"\x80\x02", "a pickle of Python"},
	{"\x80\x03", "a pickle of Python"},
	{"\x80\x04", "a pickle of Python"},
	{"\x80\x05", "a pickle of Python"},
	{"Obj\x01", "an Avro file; write its records as .jsonl"},
}

// NotText says what the first HeadBytes bytes of a file are that is no text, "" where they may begin one.
func NotText(head []byte) string {
	for _, o := range others {
		if bytes.HasPrefix(head, []byte(o.bytes)) && (len(o.bytes) > 4 || !printable(head)) {
			return o.name
		}
	}
	const magic = 257 // where a tar archive's first header has its mark
	if len(head) > magic && bytes.HasPrefix(head[magic:], []byte("ustar")) && !printable(head) {
		return "a tar archive; unpack it (tar -xf), and name the folder"
	}
	return ""
}

// HeadBytes is how much of a text is looked at to tell its encoding, and that it is one.
const HeadBytes = 4096

// Reader gives a text as UTF-8 without its byte order mark: UTF-16 that has one is converted. Other encodings that
// can be told, and what is no text, are refused. Bytes that are no UTF-8 are left to whoever reads them.
func Reader(r io.Reader) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 1<<16)
	head, err := br.Peek(HeadBytes)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if what := NotText(head); what != "" {
		return nil, fmt.Errorf("not text, but %s", what)
	}
	for _, m := range marks {
		if !bytes.HasPrefix(head, []byte(m.bytes)) {
			continue
		}
		switch m.name {
		case "UTF-8":
			_, err := br.Discard(len(m.bytes))
			return br, err
		case "UTF-16LE":
			return transform.NewReader(br, unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewDecoder()), nil
		case "UTF-16BE":
			return transform.NewReader(br, unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder()), nil
		}
		return nil, otherEncoding(m.name, "")
	}
	if name := wide(head); name != "" {
		return nil, otherEncoding(name, " without a byte order mark")
	}
	return br, nil
}

func otherEncoding(name, how string) error {
	return fmt.Errorf("the text is %s%s, which is not read; convert it to UTF-8 (iconv -f %[1]s -t UTF-8)", name, how)
}

// printable reports whether bytes may be the beginning of a text: none of them is a control character but white space.
func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f' {
			return false
		}
	}
	return true
}

// wide tells text of two or four bytes a letter that has no mark by its zeros, which stand on one side of nearly every
// letter of a Latin script. A few zeros in a text of UTF-8 do not.
func wide(head []byte) string {
	units := len(head) / 4
	if units < 2 {
		return ""
	}
	var zeros [4]int
	for i := range 4 * units {
		if head[i] == 0 {
			zeros[i%4]++
		}
	}
	most := func(n int) bool { return 4*n >= 3*units }
	few := func(n int) bool { return 8*n <= units }
	z := zeros
	switch {
	case few(z[0]) && most(z[1]) && most(z[2]) && most(z[3]):
		return "UTF-32LE"
	case most(z[0]) && most(z[1]) && most(z[2]) && few(z[3]):
		return "UTF-32BE"
	case few(z[0]) && most(z[1]) && few(z[2]) && most(z[3]):
		return "UTF-16LE"
	case most(z[0]) && few(z[1]) && most(z[2]) && few(z[3]):
		return "UTF-16BE"
	}
	return ""
}
