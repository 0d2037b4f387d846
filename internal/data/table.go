package data

import "io"

// rows gives the rows of a table: a file whose records have the fields that its head names.
type rows interface {
	columns() []string
	// next is the next row, of its wanted columns. line is its number, or the line where it begins; bad is what is wrong
	// with it, errLong where it is longer than what was asked for; err why reading ends: io.EOF at the end.
	next() (row map[string]any, line int, bad, err error)
	// rest ends the row for which next gave errLong, of which add, where it is not nil, gets the text column piece by
	// piece. bad is what is wrong with the row, what add ended with too; err why reading ends.
	rest(add func([]byte) error) (bad, err error)
	close()
}

// wholeRows are rows of which each is held whole, or refused.
type wholeRows struct{}

func (wholeRows) rest(func([]byte) error) (bad, err error) { return errLong, nil }

// asked is what is wanted of a table.
type asked struct {
	columns []string
	text    string  // the column of a document's text
	long    int     // bytes from where on a row is not held whole if it can be helped
	most    int     // bytes that may be held whole
	passed  *unread // gets what is read as nothing; nil: nobody
}

// newRows opens a table.
func newRows(k kind, x *file, a asked) (rows, error) {
	switch k {
	case delimited:
		return newCSVRows(x, a)
	case arrow:
		return newArrowRows(x, a)
	}
	return newParquetRows(x, a.columns, a.most)
}

// rows reads the rows of a table.
func (r *reading) rows(x *file, i int, from place, k kind) error {
	t, err := r.s.table(k, x, r.s.fields, &r.s.unread)
	if err != nil {
		return x.fault(err)
	}
	defer t.close()
	r.s.columns[i] = t.columns()
	for n := 1; !r.stop; n++ {
		row, line, bad, err := t.next()
		if err == io.EOF {
			if n == 1 {
				return r.s.none(x.path)
			}
			return nil
		}
		if err == nil {
			err = grown(x, k, row)
		}
		if err != nil {
			return x.fault(err)
		}
		it := item{kind: k, file: i, line: line, number: n, row: row, bad: bad}
		if text, _ := row[r.s.opt.TextField].(string); r.s.format == Text && n > from.Record && (bad == errLong ||
			bad == nil && len(text) > longRecord) {
			offset := int64(0)
			if n == from.Record+1 {
				offset = from.Offset
			}
			if err := r.cell(it, t, text, offset); err != nil {
				return x.fault(err)
			}
			continue
		}
		if bad == errLong {
			if it.bad, err = t.rest(nil); err != nil {
				return x.fault(err)
			}
			if it.bad == nil {
				it.bad = errLong
			}
		}
		if n > from.Record {
			r.add(it, sizeOf(row), place{File: i, Record: n})
		}
	}
	return nil
}

// grown counts a row against what its file may grow to. The bytes of delimited text are its rows', and were counted.
func grown(x *file, k kind, row map[string]any) error {
	if k == delimited {
		return nil
	}
	return x.grow(int64(sizeOf(row)))
}

// cell sends a row's long text in parts: the text, or, where the row is not held, what comes of it.
func (r *reading) cell(it item, t rows, text string, offset int64) error {
	p := r.newParts(it, offset, func(n int64) place { return place{it.file, it.number - 1, n} })
	p.it.row = nil
	if it.bad == errLong {
		bad, err := t.rest(p.add)
		return p.finish(bad, err)
	}
	var bad error
	for len(text) > 0 && bad == nil {
		n := min(len(text), 1<<16)
		bad = p.add([]byte(text[:n]))
		text = text[n:]
	}
	return p.finish(bad, nil)
}

// sizeOf is about the memory of a row's texts.
func sizeOf(v any) int {
	n := 16
	switch x := v.(type) {
	case string:
		n += len(x)
	case []any:
		for _, e := range x {
			n += sizeOf(e)
		}
	case map[string]any:
		for _, e := range x {
			n += sizeOf(e)
		}
	case *object:
		return sizeOf(x.of)
	}
	return n
}

// hasNull reports whether a field of a row is null.
func hasNull(row map[string]any) bool {
	for _, v := range row {
		if v == nil {
			return true
		}
	}
	return false
}
