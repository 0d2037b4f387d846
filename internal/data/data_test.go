package data

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"longlora/internal/errs"
	"longlora/internal/testkit"
	"longlora/internal/tokenizer"
)

// letters encodes a byte as its value; BOS 1, EOS 2.
type letters struct{}

func (letters) Encode(s string) (ids []int32, err error) {
	for _, b := range []byte(s) {
		ids = append(ids, int32(b))
	}
	return ids, nil
}
func (l letters) EncodeSpans(s string) (ids []int32, at []tokenizer.Span, err error) {
	for i := range len(s) {
		at = append(at, tokenizer.Span{Start: i, End: i + 1})
	}
	ids, err = l.Encode(s)
	return ids, at, err
}

func (letters) Decode(ids []int32) (string, error) {
	var b []byte
	for _, id := range ids {
		if id == 2 {
			b = append(b, "</s>"...)
			continue
		}
		b = append(b, byte(id))
	}
	return string(b), nil
}
func (letters) ID(token string) (int32, bool) { return 0, false }
func (letters) Size() int                     { return 256 }
func (letters) Describe(id int32) string      { return "" }
func (letters) Notes() []string               { return nil }
func (letters) Configured() string            { return "" }
func (letters) Parts() (drop, ok bool)        { return false, true }

func (letters) BOS() (int32, bool) { return 1, true }
func (letters) EOS() (int32, bool) { return 2, true }

func write(t *testing.T, name, text string) string {
	t.Helper()
	return testkit.Temp(t, name, text)
}

func options(path, pack string, ctx int) Options {
	return Options{Paths: []string{path}, Format: "auto", Pack: pack, Ctx: ctx, TextField: "text", Vocab: 300, Encoder: letters{}}
}

func TestRows(t *testing.T) {
	p := write(t, "a.jsonl", "{\"text\":\"abc\"}\n\n{\"text\":\"defghi\"}\n")
	// stream: 1 a b c 2 | 1 d e f g h i 2
	for _, c := range []struct {
		pack string
		ctx  int
		want []Row
	}{
		{"concat", 6, []Row{{[]int32{1, 'a', 'b', 'c', 2, 1}, []int32{0}, nil}, {[]int32{'d', 'e', 'f', 'g', 'h', 'i'}, []int32{0}, nil}}},
		{"cut", 6, []Row{{[]int32{1, 'a', 'b', 'c', 2, 1}, []int32{0, 5}, nil}, {[]int32{'d', 'e', 'f', 'g', 'h', 'i'}, []int32{0}, nil}, {[]int32{2}, []int32{0}, nil}}},
		{"pad", 6, []Row{{[]int32{1, 'a', 'b', 'c', 2}, []int32{0}, nil}, {[]int32{1, 'd', 'e', 'f', 'g', 'h'}, []int32{0}, nil}, {[]int32{'i', 2}, []int32{0}, nil}}},
	} {
		s, err := Open(t.Context(), options(p, c.pack, c.ctx))
		if err != nil {
			t.Fatal(err)
		}
		var got []Row
		for i := range s.Rows() {
			got = append(got, s.Row(i))
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.pack, got, c.want)
		}
	}
	short := options(p, "concat", 14)
	if _, err := Open(t.Context(), short); errs.Code(err) != 4 || !strings.Contains(err.Error(), p+": no whole row of --ctx 14 tokens: it has 13 tokens, and a row wants 14") {
		t.Errorf("no whole row: %v", err)
	}
	short.Paths = append(short.Paths, write(t, "b.txt", "a"))
	if _, err := Open(t.Context(), short); errs.Code(err) != 4 || !strings.Contains(err.Error(), "the longest, "+p+", has 13 tokens, and a row wants 14") {
		t.Errorf("no whole row of two sources: %v", err)
	}
}

func TestTokenFiles(t *testing.T) {
	ids := func(n int) string {
		var b []byte
		for i := range n {
			b = binary.LittleEndian.AppendUint16(b, uint16(i%300))
		}
		return string(b)
	}
	s, err := Open(t.Context(), options(write(t, "a.bin", ids(50)), "auto", 20))
	if err != nil || s.Rows() != 2 || s.Row(1).IDs[0] != 20 {
		t.Fatalf("rows %v, %v", s, err)
	}
	for name, c := range map[string]struct {
		o    Options
		code int
	}{
		"odd size":      {options(write(t, "b.bin", ids(50)+"x"), "auto", 20), 4},
		"vocabulary":    {Options{Paths: []string{write(t, "c.bin", ids(50))}, Ctx: 20, Vocab: 40}, 4},
		"cut of stream": {options(write(t, "d.bin", ids(50)), "cut", 20), 2},
		"missing":       {options("nowhere.txt", "auto", 20), 4},
		"bad line":      {options(write(t, "e.jsonl", "{\"text\":1}\n"), "auto", 20), 4},
	} {
		if _, err := Open(t.Context(), c.o); errs.Code(err) != c.code {
			t.Errorf("%s: %v (exit %d), want exit %d", name, err, errs.Code(err), c.code)
		}
	}
}

func TestSkipBadCounts(t *testing.T) {
	o := options(write(t, "a.jsonl", "{\"text\":\"abcdef\"}\nnot json\n{\"no\":1}\n"), "concat", 4)
	o.SkipBad = true
	s, err := Open(t.Context(), o)
	if err != nil || s.Stats(3).Skipped != 2 || s.Stats(3).Long != 8 {
		t.Fatalf("%+v %v", s.Stats(3), err)
	}
}

func TestOrderIsAPermutationOfSeedAndEpoch(t *testing.T) {
	s, err := Open(t.Context(), options(write(t, "a.txt", string(make([]byte, 400))), "concat", 4))
	if err != nil {
		t.Fatal(err)
	}
	n := s.Rows()
	var first []int
	for e := range 2 {
		var rows []int
		o := NewOrder(s, 7, true)
		for i := range n {
			rows = append(rows, o.Row(int64(e*n+i)))
		}
		if e == 1 && slices.Equal(rows, first) {
			t.Error("both epochs have one order")
		}
		first = slices.Clone(rows)
		slices.Sort(rows)
		for i, r := range rows {
			if i != r {
				t.Fatalf("epoch %d is no permutation: %v", e, rows)
			}
		}
		if again := NewOrder(s, 7, true).Row(int64(e*n + 3)); again != first[3] {
			t.Errorf("sample %d asked alone is row %d, in order %d", e*n+3, again, first[3])
		}
	}
}

func TestWeightsAndHoldOut(t *testing.T) {
	p := write(t, "a.txt", string(make([]byte, 398)))
	o := options(p+":0.3", "concat", 4)
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if n := NewOrder(s, 1, false).Rows(); n != 30 {
		t.Errorf("0.3 of 100 rows is %d", n)
	}
	if err := s.HoldOut(0.05); err != nil || s.Rows() != 95 || s.Held() != 5 {
		t.Errorf("held out %d of %d: %v", s.Held(), s.Rows(), err)
	}
}

func TestTruncatedGzip(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a.txt.gz")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(f)
	_, err1 := w.Write(make([]byte, 100000))
	err2 := w.Close()
	st, err3 := f.Stat()
	if err := errors.Join(err1, err2, err3, f.Truncate(st.Size()/2)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Open(t.Context(), options(p, "concat", 4)); errs.Code(err) != 4 {
		t.Errorf("a truncated file gave %v", err)
	}
}

func FuzzSplitWeight(f *testing.F) {
	for _, s := range []string{"a:0.5", "a:b", ":", "a:-1", "a:1e999", "a:0x1p-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, w, err := splitWeight(s)
		if err == nil && (w < 0 || len(p) > len(s)) {
			t.Errorf("%q: %q, %v", s, p, w)
		}
	})
}

// What is held out and what is trained on are one whole: by documents when there are many, else by tokens.
func TestHoldDocsDividesTheData(t *testing.T) {
	lines := ""
	for range 40 {
		lines += "{\"text\":\"abcdefgh\"}\n"
	}
	for path, want := range map[string]int{write(t, "many.jsonl", lines): 2 * 10, write(t, "few.txt", string(make([]byte, 398))): 20} {
		o := options(path, "concat", 4)
		o.HoldDocs = 0.05
		held, err := Stream(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if n := s.Stats(0).Tokens; held.Len() != want || len(held.Slice(0, want)) != want || n+int64(want) != 400 {
			t.Errorf("%s: %d tokens held out (want %d), %d trained on", path, held.Len(), want, n)
		}
	}
}
