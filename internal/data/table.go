package data

// rows gives the rows of a table: a file whose records have the fields that its head names.
type rows interface {
	columns() []string
	// next is the next row, of its wanted columns. line is its number, or the line where it begins; bad is what is wrong
	// with it, err why reading ends: io.EOF at the end.
	next() (row map[string]any, line int, bad, err error)
	close()
}

// newRows opens a table for the columns among want.
func newRows(k kind, x *file, want []string, most int) (rows, error) {
	return newParquetRows(x, want, most)
}
