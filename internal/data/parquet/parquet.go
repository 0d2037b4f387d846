// Package parquet reads the rows of parquet files: the wanted columns alone, and only where footer, pages and rows fit
// the memory that there is.
package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/parquet-go/parquet-go"

	"longlora/internal/data/datafile"
	"longlora/internal/data/plaintext"
	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// rows gives the rows of a parquet file.
type rows struct {
	record.Whole
	r     *parquet.GenericReader[any]
	names []string // all columns
	buf   []any
	at, n int
	row   int
	total int64
	err   error
	watch *plaintext.Watch
	f     *datafile.Anywhere
}

// New gives the rows of a parquet file, of which each is held whole. A compressed file is unpacked first: parquet is
// read from its end. record.ErrLong says that a page has more than a.Most bytes; another error that the file is
// damaged, not whole, or larger than the host memory allows. x must stay open until the rows are closed.
func New(x *datafile.File, a record.Want) (_ record.Rows, err error) {
	want, most := a.Columns, a.Most
	rr := &rows{watch: &x.Watch}
	defer caught(&err)
	defer func() {
		if err != nil {
			rr.Close()
		}
	}()
	if rr.f, err = x.Anywhere(); err != nil {
		return nil, err
	}
	footer, err := checkFooter(rr.f, rr.f.Size)
	if err != nil {
		return nil, err
	}
	if limit := max(plainFooter, int64(most/8)); footer > min(limit, maxFooter) {
		if limit < maxFooter {
			return nil, errs.NoFitf("%s: its footer has %d bytes, and takes a hundred times as much memory; at most %d are "+
				"read (1/128 of the host memory): give a larger %s, or divide the file", x.Path, footer, limit,
				errs.Option("host-mem"))
		}
		return nil, errs.Dataf("%s: its footer has %d bytes; at most %d are read: divide the file, or leave columns out",
			x.Path, footer, maxFooter)
	}
	pf, err := parquet.OpenFile(rr.f, rr.f.Size, parquet.SkipPageIndex(true))
	if errors.Is(err, io.ErrUnexpectedEOF) { // in what the footer says, not at the file's end
		return nil, fmt.Errorf("not a whole parquet file: %v; get it again", err)
	}
	if err != nil {
		return nil, fmt.Errorf("not a whole parquet file: %w; get it again", err)
	}
	if joined(rr.f, rr.f.Size, footer, pf) {
		return nil, datafile.ErrJoined
	}
	group := parquet.Group{}
	for _, c := range pf.Schema().Fields() {
		if slices.Contains(want, c.Name()) {
			if slices.Contains(rr.names, c.Name()) {
				return nil, fmt.Errorf("two of its columns are named %q", c.Name())
			}
			group[c.Name()] = c
		}
		rr.names = append(rr.names, c.Name())
	}
	rr.total = pf.NumRows()
	if len(group) == 0 || rr.total == 0 {
		return rr, nil // rows without a field, which is what is wrong with them, or none
	}
	largest, sum, err := checkPages(rr.f, rr.f.Size, pf, func(c string) bool { return group[c] != nil }, most)
	if err == nil {
		err = x.Grow(sum)
	}
	if err != nil {
		return nil, err
	}
	rr.buf = make([]any, 16)
	if largest > 8<<20 { // a row may be that large
		rr.buf = rr.buf[:1]
	}
	rr.r = parquet.NewGenericReader[any](pf, parquet.NewSchema(pf.Schema().Name(), group))
	return rr, nil
}

// plainFooter is the length of a footer that is read whatever the host memory is, in bytes.
var plainFooter = int64(1 << 20)

// maxFooter is that of some 200,000 columns or pieces of columns, in bytes.
const maxFooter = 32 << 20

// checkFooter refuses what is not a whole parquet file before the library believes its footer's length, and gives that.
func checkFooter(f io.ReaderAt, size int64) (bytes int64, err error) {
	var head [4]byte
	var tail [8]byte
	const least = int64(len(head) + len(tail))
	if size >= least {
		if _, err := f.ReadAt(head[:], 0); err != nil {
			return 0, err
		}
		if _, err := f.ReadAt(tail[:], size-int64(len(tail))); err != nil {
			return 0, err
		}
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if string(head[:]) != "PAR1" || string(tail[4:]) != "PAR1" || n > size-least {
		return 0, errors.New("not a whole parquet file, which begins and ends with PAR1; get it again")
	}
	return n, nil
}

// joined reports whether another file stands before the one whose footer was read.
func joined(f io.ReaderAt, size, footer int64, pf *parquet.File) bool {
	const mark = "PAR1"
	end := int64(len(mark)) // of what the footer describes
	for _, group := range pf.Metadata().RowGroups {
		for _, c := range group.Columns {
			end = max(end, firstPage(&c.MetaData)+c.MetaData.TotalCompressedSize,
				c.ColumnIndexOffset+int64(c.ColumnIndexLength), c.OffsetIndexOffset+int64(c.OffsetIndexLength))
		}
	}
	b := make([]byte, 2*len(mark))
	at := size - footer - int64(len(b)) - end
	if at < int64(len(b)) {
		return false
	}
	_, err := f.ReadAt(b, at-int64(len(mark)))
	return err == nil && string(b) == mark+mark
}

// Next is the next row; row counts from 1.
func (r *rows) Next() (m map[string]any, row int, bad, err error) {
	defer caught(&err)
	r.row++
	if r.r == nil {
		if int64(r.row) > r.total {
			return nil, r.row, nil, io.EOF
		}
		return map[string]any{}, r.row, nil, nil
	}
	for r.at == r.n {
		if r.err != nil {
			return nil, r.row, nil, r.err
		}
		clear(r.buf)
		r.n, r.err = r.r.Read(r.buf)
		r.at = 0
		if r.n == 0 && r.err == nil {
			r.err = fmt.Errorf("damaged parquet file: no rows come, of %d; get it again", r.total)
		}
	}
	v := r.buf[r.at]
	r.at++
	r.watch.AtRow(r.row)
	m, ok := record.Fields(r.clean(v, r.r.Schema()))
	if !ok {
		return nil, r.row, nil, fmt.Errorf("row %d is %T", r.row, v)
	}
	return m, r.row, nil, nil
}

func (r *rows) Columns() []string { return r.names }

// clean makes every text valid UTF-8, whether the column says that it is text or not, and keeps the order of the fields
// of what lies in a column.
func (r *rows) clean(v any, n parquet.Node) any {
	switch x := v.(type) {
	case map[string]any:
		o := &record.Object{Of: x}
		for _, f := range n.Fields() {
			if w, ok := x[f.Name()]; ok {
				o.Keys = append(o.Keys, f.Name())
				x[f.Name()] = r.clean(w, f)
			}
		}
		if len(o.Keys) == len(x) {
			return o
		}
	case []any:
		e := element(n)
		for i := range x {
			x[i] = r.clean(x[i], e)
		}
	case string:
		return r.watch.Text(x)
	case []byte:
		return r.watch.Text(string(x))
	}
	return v
}

// element is what a list holds: the one field of the one field that is repeated, or, in older files, that field itself.
func element(n parquet.Node) parquet.Node {
	if n.Repeated() || n.Leaf() || len(n.Fields()) != 1 {
		return n
	}
	list := n.Fields()[0]
	if list.Leaf() || len(list.Fields()) != 1 {
		return list
	}
	return list.Fields()[0]
}

func (r *rows) Close() {
	if r.r != nil {
		_ = r.r.Close() // only read
	}
	if r.f != nil {
		r.f.Close()
	}
}

// caught turns a panic of the parquet library, which damaged files bring about, into an error. One of the runtime (an
// index out of range) tells of the library's code and nothing of the file.
func caught(err *error) {
	switch p := recover().(type) {
	case nil:
	case runtime.Error:
		*err = errors.New("damaged parquet file: its parts do not agree; get it again")
	default:
		*err = fmt.Errorf("damaged parquet file: %v; get it again", p)
	}
}
