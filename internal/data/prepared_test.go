package data

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/testkit"
)

// What a prepared file does not fit is refused, and so is one that is damaged.
func TestPreparedMismatch(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "a.jsonl")
	testkit.Write(t, src, alpacas(30))
	bin := filepath.Join(dir, "a.bin")
	o := realOptions(t, src, "", 0)
	o.Template = "llama2"
	if _, err := Prepare(t.Context(), o, bin, "test"); err != nil {
		t.Fatal(err)
	}
	edit := func(path string, f func([]byte) []byte) func() {
		return func() {
			b := testkit.Read(t, path)
			testkit.Write(t, path, f(b))
		}
	}
	keep := map[string][]byte{}
	for _, p := range []string{src, bin, bin + ".json", bin + ".idx"} {
		b := testkit.Read(t, p)
		keep[p] = b
	}
	flip := func(b []byte) []byte { b[len(b)/2]++; return b }
	for _, c := range []struct {
		what   string
		damage func()
		change func(*Options)
		code   int
		want   string
	}{
		{"nothing", nil, nil, 0, ""},
		{"tokenizer", nil, func(o *Options) { o.Tokenizer = &Identity{SHA256: "x", BOS: 1, EOS: 2} }, 4, "another tokenizer"},
		{"EOS", nil, func(o *Options) { o.Tokenizer = &Identity{SHA256: o.Tokenizer.SHA256, BOS: 1, EOS: 0} }, 4, "another tokenizer"},
		{"no tokenizer", nil, func(o *Options) { o.Tokenizer, o.Encoder = nil, nil }, 0, ""},
		{"vocabulary", nil, func(o *Options) { o.Vocab = 70000 }, 4, "vocabulary"},
		{"template", nil, func(o *Options) { o.Template = "mistral" }, 2, "llama2"},
		{"same template", nil, func(o *Options) { o.Template = "llama2" }, 0, ""},
		{"format", nil, func(o *Options) { o.Format = "alpaca" }, 0, ""},
		{"other format", nil, func(o *Options) { o.Format = "text" }, 2, "--format text"},
		{"source", edit(src, flip), nil, 4, "has changed"},
		{"source gone", func() { os.Remove(src) }, nil, 0, ""},
		{"ids", edit(bin, flip), nil, 4, "a.bin"},
		{"index", edit(bin+".idx", flip), nil, 4, "a.bin.idx"},
		{"no index", func() { os.Remove(bin + ".idx") }, nil, 4, "a.bin.idx: missing"},
		{"no description", func() { os.Remove(bin + ".json") }, nil, 4, "a.bin.json: missing"},
		{"description", edit(bin+".json", func([]byte) []byte { return []byte("{}") }), nil, 4, "a.bin.json"},
		{"torn description", edit(bin+".json", func(b []byte) []byte { return b[:9] }), nil, 4, "a.bin.json"},
	} {
		for p, b := range keep {
			testkit.Write(t, p, b)
		}
		if c.damage != nil {
			c.damage()
		}
		o := realOptions(t, bin, "auto", 96)
		if c.change != nil {
			c.change(&o)
		}
		s, err := Open(t.Context(), o)
		if err == nil {
			s.Close()
		}
		if errs.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: exit %d, want %d: %v", c.what, errs.Code(err), c.code, err)
		}
	}
}

// An index that lies about its documents is refused, not believed, even where its hash agrees.
func TestDamagedIndexRecords(t *testing.T) {
	src := write(t, "a.jsonl", alpacas(5))
	for i := range 4 {
		for _, at := range []int{0, 8, 16, 20} {
			bin := filepath.Join(t.TempDir(), "a.bin")
			if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test"); err != nil {
				t.Fatal(err)
			}
			b := testkit.Read(t, bin+".idx")
			binary.LittleEndian.PutUint32(b[32+i*32+at:], 1<<31)
			testkit.Write(t, bin+".idx", b)
			c, err := readSidecar(bin)
			if err != nil {
				t.Fatal(err)
			}
			if c.Index, err = files.Whole(bin+".idx", c.Index.Name); err != nil {
				t.Fatal(err)
			}
			if err := files.WriteJSON(bin+".json", c); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), realOptions(t, bin, "auto", 96)); errs.Code(err) != 4 {
				t.Errorf("record %d, byte %d: %v", i, at, err)
			}
		}
	}
}

// Without special tokens nothing is added, and each document is encoded on its own.
func TestNoSpecial(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "a.bin")
	o := realOptions(t, write(t, "a.jsonl", "{\"text\":\" th\"}\n{\"text\":\"\"}\n{\"text\":\"e </s>\"}\n"), "", 0)
	o.NoSpecial = true
	res, err := Prepare(t.Context(), o, bin, "test")
	if err != nil || res.Documents != 3 {
		t.Fatalf("%+v, %v", res, err)
	}
	b := testkit.Read(t, bin)
	var ids []int32
	for i := 0; i < len(b); i += 2 {
		ids = append(ids, int32(binary.LittleEndian.Uint16(b[i:])))
	}
	var want []int32
	for _, s := range []string{" th", "e </s>"} {
		ids, err := o.Encoder.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, ids...)
	}
	if !reflect.DeepEqual(ids, want) || want[len(want)-1] != 2 {
		t.Errorf("%v, want %v", ids, want)
	}
}

// A folder of prepared files is one source; prepared text and examples, or plain ids beside them, are not mixed.
func TestFolderOfPreparedFiles(t *testing.T) {
	src := t.TempDir()
	for name, content := range map[string]string{"a.jsonl": alpacas(40), "b.jsonl": alpacas(31)} {
		testkit.Write(t, filepath.Join(src, name), content)
	}
	dir := t.TempDir()
	for _, n := range []string{"a", "b"} {
		if _, err := Prepare(t.Context(), realOptions(t, filepath.Join(src, n+".jsonl"), "", 0), filepath.Join(dir, n+".bin"), "test"); err != nil {
			t.Fatal(err)
		}
	}
	x, err := Open(t.Context(), realOptions(t, src, "auto", 200))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	y, err := Open(t.Context(), realOptions(t, dir, "auto", 200))
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	if x.Rows() == 0 || x.Rows() != y.Rows() {
		t.Fatalf("%d rows, prepared %d", x.Rows(), y.Rows())
	}
	for i := range x.Rows() {
		if !reflect.DeepEqual(x.Row(i), y.Row(i)) {
			t.Fatalf("row %d differs", i)
		}
	}
	var log bytes.Buffer
	testkit.Write(t, filepath.Join(dir, "d.jsonl"), alpacas(3))
	o := realOptions(t, dir, "auto", 200)
	o.Log = &log
	z, err := Open(t.Context(), o)
	if err != nil || !strings.Contains(log.String(), "2 files are left out, prepared tokens beside other data (name one to read it): a.bin, b.bin") {
		t.Errorf("beside other data: %v\n%s", err, log.String())
	} else {
		z.Close()
	}
	testkit.Write(t, filepath.Join(dir, "c.bin"), []byte{5, 0})
	if _, err := Open(t.Context(), realOptions(t, dir, "auto", 200)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "token files beside others: "+filepath.Join(dir, "c.bin")) {
		t.Errorf("plain ids beside other data: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "d.jsonl")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), realOptions(t, dir, "auto", 200)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "plain") {
		t.Errorf("plain ids beside prepared ones: %v", err)
	}
}

func TestLengths(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "a.bin")
	o := realOptions(t, write(t, "a.jsonl", "{\"text\":\"x\"}\n{\"text\":\"xyz\"}\n{\"text\":\"xyzw\"}\n"), "", 0) // 3, 5, 6 tokens
	if _, err := Prepare(t.Context(), o, bin, "test"); err != nil {
		t.Fatal(err)
	}
	l, err := MeasureLengths(bin, []int{5})
	if err != nil {
		t.Fatal(err)
	}
	want := &Lengths{Documents: 3, Tokens: 14, Longest: 6, Histogram: []LengthBin{{2, 3, 1, 3, 1}, {4, 7, 2, 11, 11. / 14}},
		AtCtx: []Usable{{5, 2. / 3, 8. / 14, 6. / 14}}}
	if !reflect.DeepEqual(l, want) {
		t.Errorf("%+v, want %+v", l, want)
	}
}

// A prepared file is held against the vocabulary though all of its hashes agree.
func TestPreparedOutside(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "a.bin")
	src := write(t, "a.jsonl", textLines(300))
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test"); err != nil {
		t.Fatal(err)
	}
	b := testkit.Read(t, bin)
	binary.LittleEndian.PutUint16(b[200:], 65535)
	testkit.Write(t, bin, b)
	c, err := readSidecar(bin)
	if err != nil {
		t.Fatal(err)
	}
	if c.Bin, err = files.Whole(bin, c.Bin.Name); err == nil {
		err = files.WriteJSON(bin+".json", c)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), realOptions(t, bin, "auto", 96)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "token 65535 at byte 200") {
		t.Errorf("%v", err)
	}
}

// What was prepared with a tokenizer to which other files add tokens is that tokenizer's, and no other's.
func TestPreparedWithConfiguredTokens(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "a.bin")
	o := realOptions(t, write(t, "a.jsonl", textLines(40)), "", 0)
	o.Tokenizer.Configured = "hash of tokens"
	if _, err := Prepare(t.Context(), o, bin, "test"); err != nil {
		t.Fatal(err)
	}
	o.Paths, o.Ctx = []string{bin}, 16
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), realOptions(t, bin, "", 16)); errs.Code(err) != 4 || !strings.Contains(err.Error(), "another tokenizer") {
		t.Errorf("a tokenizer without them: %v", err)
	}
}
