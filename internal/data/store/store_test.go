package store

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"longlora/internal/errs"
)

// written is a store of some documents, and the writer of it.
func written(t *testing.T, width int, examples bool, ids []int32, docs ...Document) (*Store, *Writer) {
	t.Helper()
	f, err := TempParts()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseParts(f) })
	w := NewWriter(f, width, examples)
	if err := w.Add(ids, docs); err != nil {
		t.Fatal(err)
	}
	s, err := w.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, w
}

// What is written is what is read: documents in parts are one, and one that is taken back was never there.
func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, width := range []int{2, 4} {
		s, w := written(t, width, false, []int32{1, 2, 3, 4, 5, 6, 7}, Document{N: 2}, Document{N: 1, More: true}, Document{N: 1},
			Document{N: 1, More: true}, Document{Undo: true}, Document{N: 0}, Document{N: 2})
		if got := s.Read(nil, 0, s.Tokens); !slices.Equal(got, []int32{1, 2, 3, 4, 6, 7}) {
			t.Errorf("%d bytes an id: %v", width, got)
		}
		var ends []int64
		for d := range s.Count {
			ends = append(ends, s.End(d))
		}
		if !slices.Equal(ends, []int64{2, 4, 4, 6}) || s.End(-1) != 0 || s.DocAt(3) != 1 || s.DocAt(4) != 3 {
			t.Errorf("documents end at %v", ends)
		}
		if w.Counts != (Counts{Tokens: 6, Whole: 6, Count: 4}) || w.Sizes(width, false) != [3]int64{int64(6 * width), 32, 0} {
			t.Errorf("%+v, sizes %v", w.Counts, w.Sizes(width, false))
		}
		s.Keep(3)
		if s.Count != 2 || s.Tokens != 3 || s.End(1) != 3 {
			t.Errorf("of 3 tokens %d documents are left, %d tokens", s.Count, s.Tokens)
		}
	}
}

// An example keeps its stretches and where it came from, and so does a copy of its store.
func TestExamples(t *testing.T) {
	docs := []Document{{N: 3, Answers: []Span{{Lo: 1, Hi: 2}, {Lo: 2, Hi: 3}}, Trim: Span{Lo: 0, Hi: 1}, File: 1, Line: 7}, {N: 2, Answers: []Span{{Lo: 0, Hi: 2}}}}
	s, _ := written(t, 2, true, []int32{1, 2, 3, 4, 5}, docs...)
	f, err := TempParts()
	if err != nil {
		t.Fatal(err)
	}
	defer CloseParts(f)
	w := NewWriter(f, 4, true)
	if err := w.Copy(s); err != nil {
		t.Fatal(err)
	}
	again, err := w.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for d, want := range docs {
		if got := s.Example(d); !reflect.DeepEqual(got, want) {
			t.Errorf("document %d: %+v, want %+v", d, got, want)
		}
		if got := again.Example(d); !reflect.DeepEqual(got, want) {
			t.Errorf("document %d of a copy: %+v, want %+v", d, got, want)
		}
	}
	var index bytes.Buffer
	if err := w.WriteIndex(&index); err != nil || index.Len() != indexHeader+2*exampleRecord+3*spanRecord {
		t.Errorf("an index of %d bytes, %v", index.Len(), err)
	}
	if err := s.check("a.idx"); err != nil {
		t.Error(err)
	}
	s.Tokens = 4
	if err := s.check("a.idx"); errs.Code(err) != 4 {
		t.Errorf("an example that ends behind the stream: %v", err)
	}
}

// A table gives back what was added.
func TestTable(t *testing.T) {
	x, err := NewTable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := x.Add(int64(i * i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Done(); err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if x.Len != 1000 || x.At(-1) != 0 || x.At(999) != 999*999 {
		t.Errorf("%d entries, the last %d", x.Len, x.At(999))
	}
}
