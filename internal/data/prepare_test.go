package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/testkit"
)

// alpacas are n examples of growing length.
func alpacas(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"instruction\":\"task %d%s\",\"output\":\"answer %d\"}\n", i, strings.Repeat(" the word", i%29), i)
	}
	return b.String()
}

func chats(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"messages\":[{\"role\":\"user\",\"content\":\"q%d\"},{\"role\":\"assistant\",\"content\":\"a%s\"},{\"role\":\"user\",\"content\":\"r\"},{\"role\":\"assistant\",\"content\":\"b\"}]}\n", i, strings.Repeat("n", i%17))
	}
	return b.String()
}

func textLines(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"text\":\"document %d%s\"}\n", i, strings.Repeat(" of it", i%23))
	}
	return b.String()
}

// A prepared file gives the rows of its source under every pack, whatever --overlong and --train-on-prompt say.
func TestPreparedIsAsItsSource(t *testing.T) {
	yes := true
	for name, content := range map[string]string{"text": textLines(300), "alpaca": alpacas(300), "chat": chats(300)} {
		src := write(t, name+".jsonl", content)
		for _, prompt := range []*bool{nil, &yes} {
			bin := filepath.Join(t.TempDir(), "sub", name+".bin")
			o := realOptions(t, src, "", 0)
			o.Template, o.TrainOnPrompt = "llama2", prompt
			res, err := Prepare(t.Context(), o, bin, "test")
			if err != nil || res.Documents != 300 {
				t.Fatalf("%+v, %v", res, err)
			}
			if st, err := os.Stat(bin); err != nil || st.Size() != 2*res.Tokens {
				t.Errorf("%d tokens in %v, %v", res.Tokens, st, err)
			}
			left, err := filepath.Glob(filepath.Join(filepath.Dir(bin), ".*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
			for _, pack := range []string{"auto", "concat", "cut", "pad"} {
				for _, overlong := range []string{"drop", "truncate"} {
					a, b := realOptions(t, src, pack, 96), realOptions(t, bin, pack, 96)
					a.Template, a.Overlong, a.TrainOnPrompt, b.Overlong = "llama2", overlong, prompt, overlong
					x, err := Open(t.Context(), a)
					if err != nil {
						t.Fatal(err)
					}
					y, err := Open(t.Context(), b)
					if err != nil {
						t.Fatal(err)
					}
					if x.Rows() == 0 || x.Rows() != y.Rows() || x.Stats(50) != y.Stats(50) {
						t.Errorf("%s %s: %d rows, prepared %d; %+v, prepared %+v", name, pack, x.Rows(), y.Rows(), x.Stats(50), y.Stats(50))
					}
					for i := range x.Rows() {
						if !reflect.DeepEqual(x.Row(i), y.Row(i)) {
							t.Fatalf("%s %s: row %d is\n%v, prepared\n%v", name, pack, i, x.Row(i), y.Row(i))
						}
					}
					x.Close()
					y.Close()
				}
			}
		}
	}
}

// Interrupted anywhere, prepare goes on to the same bytes; so it does after a kill that left more than was saved.
func TestPrepareGoesOn(t *testing.T) {
	src := write(t, "a.jsonl", alpacas(3*batchItems)) // several batches
	whole := filepath.Join(t.TempDir(), "a.bin")
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), whole, "test"); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "a.bin")
	s, err := openSource(src, ptr(realOptions(t, src, "", 0)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.openEncoder(); err != nil {
		t.Fatal(err)
	}
	p := preparation{s: s, out: bin, part: filepath.Join(filepath.Dir(bin), ".a.bin.part")}
	if p.want, err = s.describe("test"); err != nil {
		t.Fatal(err)
	}
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.encode(t.Context(), place{}, func(r *result) error {
		if n++; n == 3 {
			return context.Canceled
		}
		p.state.Place, p.state.Bytes = r.after, p.state.Bytes+int64(r.size)
		for _, id := range r.ids {
			p.state.MaxID = max(p.state.MaxID, id)
		}
		return p.w.add(r)
	})
	if err == nil {
		t.Fatal("not interrupted")
	}
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	// what was written after the last save, and half of it at that
	for _, f := range p.f {
		if _, err := f.WriteString("torn"); err != nil {
			t.Fatal(err)
		}
	}
	closeAll(p.f)
	if p.state.Count == 0 || p.state.Count >= 3*batchItems {
		t.Fatalf("%d documents before the break", p.state.Count)
	}
	if _, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test"); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{"", ".idx"} {
		a, err1 := os.ReadFile(whole + ext)
		b, err2 := os.ReadFile(bin + ext)
		if err1 != nil || err2 != nil || string(a) != string(b) {
			t.Errorf("F.bin%s differs after going on (%v, %v)", ext, err1, err2)
		}
	}
	again, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test")
	if err != nil || again.Documents != 3*batchItems {
		t.Errorf("prepared already: %+v, %v", again, err)
	}
}

func ptr[T any](v T) *T { return &v }

// A cancelled prepare says so with its own exit code; a fault of the data leaves nothing.
func TestPrepareEndsEarly(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "a.bin")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Prepare(ctx, realOptions(t, write(t, "a.jsonl", alpacas(20)), "", 0), bin, "test"); errs.Code(err) != 130 {
		t.Errorf("cancelled: %v", err)
	}
	bin = filepath.Join(t.TempDir(), "a.bin")
	_, err := Prepare(t.Context(), realOptions(t, write(t, "a.jsonl", alpacas(20)+"{"), "", 0), bin, "test")
	if errs.Code(err) != 4 || !strings.Contains(err.Error(), "a.jsonl:21") {
		t.Errorf("malformed: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(bin)); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

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
			binary.LittleEndian.PutUint32(b[indexHeader+i*exampleRecord+at:], 1<<31)
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

// What lies at --out and was not written by prepare stays as it is; what a preparation left, whole or in parts, is
// written over.
func TestPrepareOverwritesItsOwnAlone(t *testing.T) {
	src := write(t, "a.jsonl", textLines(3))
	other := write(t, "b.jsonl", textLines(4))
	prepare := func(data, bin string) error {
		_, err := Prepare(t.Context(), realOptions(t, data, "", 0), bin, "test")
		return err
	}
	for _, name := range []string{"a.bin", "a.bin.json", "a.bin.idx", ".a.bin.part/notes"} {
		dir := t.TempDir()
		testkit.Write(t, filepath.Join(dir, name), "precious")
		bin := filepath.Join(dir, "a.bin")
		if err := prepare(filepath.Join(dir, "nowhere.jsonl"), bin); errs.Code(err) != 2 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "precious" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	for _, gone := range [][]string{{}, {""}, {".json"}, {".idx"}, {"", ".json"}, {"", ".idx"}} {
		bin := filepath.Join(t.TempDir(), "a.bin")
		if err := prepare(src, bin); err != nil {
			t.Fatal(err)
		}
		for _, g := range gone {
			if err := os.Remove(bin + g); err != nil {
				t.Fatal(err)
			}
		}
		if err := prepare(other, bin); err != nil {
			t.Errorf("without %q: %v", gone, err)
		}
	}
}

// Who comes second to a file that is being written is told what to do, as by every command.
func TestTwoPrepare(t *testing.T) {
	dir := t.TempDir()
	o, out := realOptions(t, write(t, "a.jsonl", textLines(3)), "", 0), filepath.Join(dir, "a.bin")
	testkit.Write(t, filepath.Join(dir, ".a.bin.part", "ids"), "")
	f, err := os.Open(filepath.Join(dir, ".a.bin.part", "ids"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = Prepare(t.Context(), o, out, "test")
	if errs.Code(err) != 2 || !strings.Contains(err.Error(), "another prepare is writing it; wait for it, or choose another name") {
		t.Errorf("%v", err)
	}
}

// Every id is held against the vocabulary, wherever it stands; a prepared file is no exception, though all of its
// hashes agree.
func TestIDsOutside(t *testing.T) {
	for _, width := range []int{2, 4} {
		for _, vocab := range []int{1, 2, 300, 1<<15 - 1, 1 << 15, 1<<15 + 1, 1<<16 - 1, 1 << 16, 1<<16 + 1, 128256, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			if width == 2 && vocab > 1<<16 {
				continue
			}
			put := func(b []byte, i int, v uint64) {
				if width == 2 {
					binary.LittleEndian.PutUint16(b[2*i:], uint16(v))
				} else {
					binary.LittleEndian.PutUint32(b[4*i:], uint32(v))
				}
			}
			for _, n := range []int{1, 3, 4, 5, 1 << 15, 1<<15 + 3} {
				b := make([]byte, n*width)
				for i := range n {
					put(b, i, uint64(vocab-1-i%min(vocab, 7)))
				}
				if got := outside(b, width, vocab); got != -1 {
					t.Fatalf("width %d, vocabulary %d, %d ids: %d is said to be outside", width, vocab, n, got)
				}
				for _, v := range []uint64{uint64(vocab), uint64(vocab) + 1, 1<<(8*width) - 1} {
					if v < uint64(vocab) || v >= 1<<(8*width) {
						continue
					}
					at := (n - 1) * 2 / 3
					c := append([]byte(nil), b...)
					put(c, at, v)
					if got := outside(c, width, vocab); got != at {
						t.Fatalf("width %d, vocabulary %d: id %d at %d of %d is found at %d", width, vocab, v, at, n, got)
					}
				}
			}
		}
	}
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

func BenchmarkIDsOutside(b *testing.B) {
	ids := make([]byte, 64<<20)
	b.SetBytes(int64(len(ids)))
	for b.Loop() {
		outside(ids, 2, 32000)
	}
}
