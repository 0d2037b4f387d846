package data

import (
	"slices"
	"sort"

	"longlora/internal/data/store"
	"longlora/internal/errs"
)

// windowRows is how many rows' worth of examples are packed together.
const windowRows = 256

// answerRoom is what --overlong truncate leaves for the prompt at least.
const answerRoom = 64

// Fate counts what --overlong did to examples.
type Fate struct {
	Dropped     int // longer than a row
	Shorter     int // of them, those that --overlong truncate would have made fit
	LongAnswers int // of them for an answer that leaves no room, or a prompt of which no single text can give enough
	Truncated   int
}

// layout is how a source's documents lie in rows. Which of the tables there are follows from pack:
//
//	text    concat, cut   none: row s is tokens [s·ctx, (s+1)·ctx)
//	        pad           ends: rows up to each document
//	example pad           members: the document of each row
//	        cut           members in the order of the rows; ends: members up to each row
//	        concat        members; ends: tokens up to each of them
type layout struct {
	pack          string
	rows          int
	members, ends *store.Table
	fate          Fate
	filled        int64 // tokens in the rows
}

// layOut divides the source into rows.
func (s *source) layOut() error {
	s.pack = s.opt.Pack
	if s.pack == Auto || s.pack == "" {
		s.pack = "concat"
		if s.st.Examples {
			s.pack = "cut"
		}
	}
	if s.plain && s.pack != "concat" {
		return errs.Usagef("%s %s: %s is one stream of token ids without documents; only concat packs it, or prepare it anew",
			errs.Option("pack"), s.pack, s.path)
	}
	if s.st.Examples {
		return s.layExamples()
	}
	n := int64(s.opt.Ctx)
	switch s.pack {
	case "concat":
		s.rows = int(s.st.Tokens / n)
		s.filled = int64(s.rows) * n
	case "cut":
		s.rows = int((s.st.Tokens + n - 1) / n)
		s.filled = s.st.Tokens
	case "pad":
		var err error
		if s.ends, err = store.NewTable(); err != nil {
			return err
		}
		for d := range s.st.Count {
			l := s.st.End(d) - s.st.End(d-1)
			s.rows += int((l + n - 1) / n)
			if err := s.ends.Add(int64(s.rows)); err != nil {
				return err
			}
		}
		s.filled = s.st.Tokens
		return s.ends.Done()
	}
	return nil
}

// layExamples leaves out or shortens examples longer than a row and lays out the rest.
func (s *source) layExamples() error {
	var err error
	if s.members, err = store.NewTable(); err != nil {
		return err
	}
	if s.pack != "pad" {
		if s.ends, err = store.NewTable(); err != nil {
			return err
		}
	}
	var window []member
	total := 0
	for d := range s.st.Count {
		x := s.st.Example(d)
		n, err := s.fit(&x, d)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		s.filled += int64(n)
		if s.pack == "cut" {
			window, total = append(window, member{d, n}), total+n
			if total >= windowRows*s.opt.Ctx {
				if err := s.layWindow(window); err != nil {
					return err
				}
				window, total = window[:0], 0
			}
			continue
		}
		if err := s.members.Add(int64(d)); err != nil {
			return err
		}
		if s.pack == "concat" {
			if err := s.ends.Add(s.filled); err != nil {
				return err
			}
		}
	}
	if err := s.layWindow(window); err != nil {
		return err
	}
	switch s.pack {
	case "pad":
		s.rows = s.members.Len
	case "concat":
		s.rows = int(s.filled / int64(s.opt.Ctx))
		s.filled = int64(s.rows) * int64(s.opt.Ctx)
	}
	if s.ends != nil {
		if err := s.ends.Done(); err != nil {
			return err
		}
	}
	return s.members.Done()
}

// fit is the length that an example has in a row, 0 where it is left out.
func (s *source) fit(x *store.Document, d int) (int, error) {
	n := x.N
	if n <= s.opt.Ctx {
		return n, nil
	}
	lost := gap(x, s.opt.Ctx)
	shortens := lost.Hi > lost.Lo
	switch {
	case s.opt.Overlong == "error":
		or := "drop"
		if shortens {
			or = "drop or truncate"
		}
		return 0, errs.Dataf("%s: the example has %d tokens, %s %d; give a larger %s, or %s %s", s.whereIs(x, d), n,
			errs.Option("ctx"), s.opt.Ctx, errs.Option("ctx"), errs.Option("overlong"), or)
	case s.opt.Overlong == "truncate" && shortens:
		s.fate.Truncated++
		return s.opt.Ctx, nil
	case s.opt.Overlong == "truncate":
		s.fate.LongAnswers++
		return 0, nil
	}
	if s.fate.Dropped++; shortens {
		s.fate.Shorter++
	}
	return 0, nil
}

// gap is what an example of more than ctx tokens loses: the middle of its prompt's longest text. It is empty where
// the answers have more than ctx − 64 tokens, or the text has too few to lose with some left at both ends.
func gap(x *store.Document, ctx int) store.Span {
	answers := 0
	for _, a := range x.Answers {
		answers += a.Hi - a.Lo
	}
	left := x.Trim.Hi - x.Trim.Lo - (x.N - ctx)
	if answers > ctx-answerRoom || left < 2 {
		return store.Span{}
	}
	return store.Span{Lo: x.Trim.Lo + (left+1)/2, Hi: x.Trim.Hi - left/2}
}

// member is a document and its length in a row.
type member struct{ d, n int }

// layWindow packs examples by first-fit-decreasing: the longest first, each into the first row with room. Rows are
// in the order of their first examples, examples within a row in that of the files.
func (s *source) layWindow(window []member) error {
	for _, row := range firstFit(window, s.opt.Ctx) {
		for _, d := range row {
			if err := s.members.Add(int64(d)); err != nil {
				return err
			}
		}
		s.rows++
		if err := s.ends.Add(int64(s.members.Len)); err != nil {
			return err
		}
	}
	return nil
}

func firstFit(window []member, ctx int) [][]int {
	slices.SortStableFunc(window, func(a, b member) int { return b.n - a.n })
	var rows [][]int
	var room []int
	for _, m := range window {
		at := slices.IndexFunc(room, func(r int) bool { return r >= m.n })
		if at < 0 {
			at = len(rows)
			rows, room = append(rows, nil), append(room, ctx)
		}
		rows[at] = append(rows[at], m.d)
		room[at] -= m.n
	}
	for _, r := range rows {
		slices.Sort(r)
	}
	slices.SortFunc(rows, func(a, b []int) int { return a[0] - b[0] })
	return rows
}

// row is row i of the source.
func (s *source) row(i int) Row {
	if s.st.Examples {
		return s.exampleRow(i)
	}
	r := Row{Docs: []int32{0}}
	n := int64(s.opt.Ctx)
	lo, hi := int64(i)*n, min(int64(i+1)*n, s.st.Tokens)
	if s.pack == "pad" {
		d := sort.Search(s.st.Count, func(d int) bool { return s.ends.At(d) > int64(i) })
		lo = s.st.End(d-1) + (int64(i)-s.ends.At(d-1))*n
		hi = min(lo+n, s.st.End(d))
	}
	r.IDs = s.st.Read(make([]int32, 0, hi-lo), lo, hi)
	if s.pack == "cut" {
		for d := s.st.DocAt(lo); d < s.st.Count && s.st.End(d) < hi; d++ {
			if o := int32(s.st.End(d) - lo); o != r.Docs[len(r.Docs)-1] {
				r.Docs = append(r.Docs, o)
			}
		}
	}
	return r
}

// exampleRow is row i of a source of examples.
func (s *source) exampleRow(i int) Row {
	r := Row{IDs: make([]int32, 0, s.opt.Ctx), Docs: []int32{0}}
	if !s.all {
		r.Scored = []Span{}
	}
	switch s.pack {
	case "pad":
		s.appendExample(&r, int(s.members.At(i)), 0)
	case "cut":
		for k := s.ends.At(i - 1); k < s.ends.At(i); k++ {
			if n := int32(len(r.IDs)); n > 0 {
				r.Docs = append(r.Docs, n)
			}
			s.appendExample(&r, int(s.members.At(int(k))), 0)
		}
	case "concat":
		lo := int64(i) * int64(s.opt.Ctx)
		k := sort.Search(s.members.Len, func(k int) bool { return s.ends.At(k) > lo })
		for ; len(r.IDs) < s.opt.Ctx; k++ {
			s.appendExample(&r, int(s.members.At(k)), int(max(0, lo-s.ends.At(k-1))))
		}
	}
	return r
}

// appendExample adds an example to a row, from its token skip on, as far as the row goes. One that is longer than a
// row has lost its middle.
func (s *source) appendExample(r *Row, d, skip int) {
	x := s.st.Example(d)
	lost := store.Span{Lo: x.N, Hi: x.N}
	if x.N > s.opt.Ctx {
		lost = gap(&x, s.opt.Ctx)
	}
	first, base := s.st.End(d-1), len(r.IDs)-skip
	add := func(lo, hi, moved int) { // tokens of the example, and by how many it moved to the left
		lo = max(lo, skip+moved)
		hi = min(hi, s.opt.Ctx-base+moved)
		if lo < hi {
			r.IDs = s.st.Read(r.IDs, first+int64(lo), first+int64(hi))
		}
	}
	add(0, lost.Lo, 0)
	add(lost.Hi, x.N, lost.Hi-lost.Lo)
	if s.all {
		return
	}
	for _, a := range x.Answers {
		if a.Lo >= lost.Hi {
			a.Lo, a.Hi = a.Lo-(lost.Hi-lost.Lo), a.Hi-(lost.Hi-lost.Lo)
		}
		p := Span{int32(max(a.Lo+base, 0)), int32(min(a.Hi+base, len(r.IDs)))}
		if p.Lo < p.Hi {
			r.Scored = append(r.Scored, p)
		}
	}
}
