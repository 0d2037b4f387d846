package data

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A long text file is read in parts and is still one document, the same as if it were encoded whole; a preparation
// that stops inside it goes on from there.
func TestLongTextInParts(t *testing.T) {
	tk, _ := real(t)
	long := strings.Repeat("the otter is in the inn, on the oven.\n\nAnd  then</s> it was not; to be is to do. ", 50000) // 4 MB
	src := write(t, "a.txt", long)
	ids, err := tk.Encode(long)
	if err != nil {
		t.Fatal(err)
	}
	want := append(append([]int32{1}, ids...), 2)
	o := realOptions(t, src, "pad", len(want))
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Row(0).IDs; s.Rows() != 1 || s.Stats(0).Documents != 1 || !reflect.DeepEqual(got, want) {
		t.Errorf("%d rows, %d documents, %d tokens of %d", s.Rows(), s.Stats(0).Documents, len(got), len(want))
	}
	// the same as one JSONL line
	e := encoder{enc: tk, vocab: 320}
	e.drop, e.parts = tk.Parts()
	if got, err := e.text(nil, long); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("as a text: %d tokens of %d, %v", len(got), len(want), err)
	}
	// stopped after two parts
	bin := filepath.Join(t.TempDir(), "a.bin")
	src2, err := openSource(src, ptr(realOptions(t, src, "", 0)))
	if err == nil {
		err = src2.openEncoder()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := preparation{s: src2, out: bin, part: filepath.Join(filepath.Dir(bin), ".a.bin.part")}
	if p.want, err = src2.describe("test"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.enter(), p.open()); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := src2.encode(t.Context(), place{}, func(r *result) error {
		if n++; n == 3 {
			return context.Canceled
		}
		p.state.Place = r.after
		return p.w.Add(r.ids, r.docs)
	}); err == nil {
		t.Fatal("not stopped")
	}
	if err := p.save(); err != nil {
		t.Fatal(err)
	}
	p.close()
	if p.state.Place.Offset == 0 || p.state.Tokens == 0 || p.state.Count != 0 {
		t.Fatalf("stopped at %+v", p.state)
	}
	res, err := Prepare(t.Context(), realOptions(t, src, "", 0), bin, "test")
	if err != nil || res.Documents != 1 || res.Tokens != int64(len(want)) {
		t.Fatalf("%+v, %v", res, err)
	}
	y, err := Open(t.Context(), realOptions(t, bin, "pad", len(want)))
	if err != nil {
		t.Fatal(err)
	}
	defer y.Close()
	if !reflect.DeepEqual(y.Row(0).IDs, want) {
		t.Error("gone on inside a text, other tokens come out")
	}
	if left, err := os.ReadDir(filepath.Dir(bin)); err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}
}
