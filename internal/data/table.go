package data

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
