package data

import (
	"io"

	"longlora/internal/data/arrow"
	"longlora/internal/data/csv"
	"longlora/internal/data/datafile"
	"longlora/internal/data/parquet"
	"longlora/internal/data/record"
)

// newRows opens a table.
func newRows(k datafile.Kind, x *datafile.File, a record.Want) (record.Rows, error) {
	switch k {
	case datafile.Delimited:
		return csv.New(x, x.Path, a)
	case datafile.Arrow:
		return arrow.New(x, a)
	}
	return parquet.New(x, a)
}

// rows reads the rows of a table.
func (r *reading) rows(x *datafile.File, i int, from place, k datafile.Kind) error {
	t, err := r.s.table(k, x, r.s.fields, func(what string) { r.s.unread.add([]string{what}) })
	if err != nil {
		return x.Fault(err)
	}
	defer t.Close()
	r.s.columns[i] = t.Columns()
	for n := 1; !r.stop; n++ {
		row, line, bad, err := t.Next()
		if err == io.EOF {
			if n == 1 {
				return r.s.none(x.Path)
			}
			return nil
		}
		if err == nil {
			err = grown(x, k, row)
		}
		if err != nil {
			return x.Fault(err)
		}
		it := item{kind: k, file: i, line: line, number: n, row: row, bad: bad}
		if text, _ := row[r.s.opt.TextField].(string); r.s.format == Text && n > from.Record && (bad == record.ErrLong ||
			bad == nil && len(text) > longRecord) {
			offset := int64(0)
			if n == from.Record+1 {
				offset = from.Offset
			}
			if err := r.cell(it, t, text, offset); err != nil {
				return x.Fault(err)
			}
			continue
		}
		if bad == record.ErrLong {
			if it.bad, err = t.Rest(nil); err != nil {
				return x.Fault(err)
			}
			if it.bad == nil {
				it.bad = record.ErrLong
			}
		}
		if n > from.Record {
			r.add(it, record.SizeOf(row), place{File: i, Record: n})
		}
	}
	return nil
}

// grown counts a row against what its file may grow to. The bytes of delimited text are its rows', and were counted.
func grown(x *datafile.File, k datafile.Kind, row map[string]any) error {
	if k == datafile.Delimited {
		return nil
	}
	return x.Grow(int64(record.SizeOf(row)))
}

// cell sends a row's long text in parts: the text, or, where the row is not held, what comes of it.
func (r *reading) cell(it item, t record.Rows, text string, offset int64) error {
	p := r.newParts(it, offset, func(n int64) place { return place{it.file, it.number - 1, n} })
	p.it.row = nil
	if it.bad == record.ErrLong {
		bad, err := t.Rest(p.add)
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

// hasNull reports whether a field of a row is null.
func hasNull(row map[string]any) bool {
	for _, v := range row {
		if v == nil {
			return true
		}
	}
	return false
}
