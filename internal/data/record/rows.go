package record

// Rows gives the rows of a table: a file whose records have the fields that its head names. It must be closed.
type Rows interface {
	// Columns are the names of all columns, wanted or not.
	Columns() []string
	// Next is the next row, of its wanted columns. line is its number, or the line where it begins; bad is what is
	// wrong with it, ErrLong where it is longer than what was asked for; err why reading ends: io.EOF at the end.
	Next() (row map[string]any, line int, bad, err error)
	// Rest ends the row for which Next gave ErrLong, of which add, where it is not nil, gets the text column piece by
	// piece. bad is what is wrong with the row, what add ended with too; err why reading ends.
	Rest(add func([]byte) error) (bad, err error)
	// Close gives back what reading took.
	Close()
}

// Whole is embedded by rows of which each is held whole, or refused.
type Whole struct{}

// Rest gives ErrLong: nothing of such a row can be had.
func (Whole) Rest(func([]byte) error) (bad, err error) { return ErrLong, nil }

// Want is what is wanted of a table. A column that the table lacks is not given.
type Want struct {
	Columns []string          // to be given
	Text    string            // the one of them with a document's text
	Long    int               // bytes from where on a row is not held whole if it can be helped
	Most    int               // bytes that may be held whole
	Passed  func(what string) // gets what is read as nothing though something stands there; nil: nobody
}
