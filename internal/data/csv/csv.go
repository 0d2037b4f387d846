// Package csv reads comma- and tab-separated text as pandas reads it, so that a file means here what it means to
// Hugging Face's datasets. encoding/csv of the standard library does not: it drops the CR of a line that ends within
// quotes, refuses a quote within a cell that has none at its front, knows no CR alone, and holds a record of any
// length.
package csv

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/data/record"
	"longlora/internal/tokenizer"
	"longlora/internal/ui"
)

// rows goes through the cells of a table.
type rows struct {
	r      *bufio.Reader
	comma  byte
	text   string             // the column that rest gives
	most   int                // bytes that a row may hold
	passed func(string)       // gets what was read as nothing
	names  []string           // of all columns
	wanted []bool             // by column; nil: all are
	line   int                // where the next byte stands
	state  state              // of the cell
	cr     bool               // the last row ended with a CR, so that a LF next belongs to it
	column int                // of the row that is read
	cells  [][]byte           // its wanted cells
	held   int                // bytes of them
	solid  bool               // it has more than spaces, so that it is no blank line
	drop   bool               // nothing is held any more
	sink   func([]byte) error // takes the text column then
}

// state is how a cell goes on.
type state int

const (
	cellFront  state = iota // nothing of it was read
	cellBare                // up to the next comma or line end; a quote is a letter
	cellQuoted              // up to the next quote
	cellQuote               // behind a quote, which a second one makes a letter
)

// noValue are the cells that pandas reads as empty.
var noValue = []string{"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
	"<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}

var errOpenQuote = errors.New("a quote that opens in this row is never closed")

// New gives the rows of a table in UTF-8, and reads its head. The columns of a file that is named .tsv are separated by
// tabs, those of others by commas. A row of more than a.Long bytes is record.ErrLong, and its text column can be had by
// Rest. An error says what is wrong with the head: there is none, it is too long, a wanted column stands twice in it,
// or its columns seem to be separated otherwise.
func New(x io.Reader, path string, a record.Want) (record.Rows, error) {
	c := &rows{r: bufio.NewReaderSize(x, 1<<18), comma: ',', text: a.Text, most: a.Long, passed: a.Passed, line: 1}
	if strings.Contains(strings.ToLower(filepath.Base(path)), ".tsv") {
		c.comma = '\t'
	}
	err := c.begin()
	for err == nil && !c.solid {
		err = c.begin()
	}
	switch {
	case err == io.EOF:
		return nil, errors.New("the file holds no head that names its columns")
	case err == record.ErrLong:
		return nil, fmt.Errorf("line %d: the head that names the columns is longer than %d bytes", c.line, c.most)
	case err != nil:
		return nil, err
	}
	if err := c.name(a.Columns); err != nil {
		return nil, err
	}
	c.wanted, c.cells = make([]bool, len(c.names)), make([][]byte, len(c.names))
	for i, n := range c.names {
		c.wanted[i] = slices.Contains(a.Columns, n)
	}
	return c, nil
}

// name names the columns by the head: one without a name, or with that of another, as pandas does.
func (c *rows) name(want []string) error {
	if other := c.otherComma(want); other != 0 {
		return fmt.Errorf("line 1: columns that seem to be separated by %q, not by %q; separate them by commas, or by tabs "+
			"in a .tsv",
			other, c.comma)
	}
	c.upTo(c.column)
	first, times := map[string]int{}, map[string]int{}
	for i, b := range c.cells {
		n := tokenizer.ReplaceInvalid(string(b))
		if n == "" {
			n = fmt.Sprintf("Unnamed: %d", i)
		}
		if at, again := first[n]; again {
			if slices.Contains(want, n) {
				return fmt.Errorf("line 1: columns %d and %d are both %q; leave one out, or name it otherwise", at+1, i+1, n)
			}
			times[n]++
			n = fmt.Sprintf("%s.%d", n, times[n])
		} else {
			first[n] = i
		}
		c.names = append(c.names, n)
	}
	return nil
}

// otherComma is what separates the columns of a head that has but one, 0 where nothing does.
func (c *rows) otherComma(want []string) byte {
	if len(c.cells) != 1 || slices.Contains(want, string(c.cells[0])) {
		return 0
	}
	for _, other := range []byte(";\t|,") {
		for _, n := range strings.Split(string(c.cells[0]), string(other)) {
			if other != c.comma && slices.Contains(want, strings.Trim(n, `"`)) {
				return other
			}
		}
	}
	return 0
}

func (c *rows) Columns() []string { return c.names }

func (c *rows) Close() {}

// Next is the next row; line is where it begins.
func (c *rows) Next() (row map[string]any, line int, bad, err error) {
	for {
		line = c.line
		switch err = c.begin(); {
		case err == record.ErrLong:
			return c.row(), line, record.ErrLong, nil
		case err == errOpenQuote:
			return nil, line, err, nil
		case err != nil:
			return nil, line, nil, err
		case c.solid:
			return c.row(), line, c.ragged(), nil
		}
	}
}

// begin reads a row; record.ErrLong ends it within one that is longer than most.
func (c *rows) begin() error {
	c.state, c.column, c.held, c.solid, c.sink, c.drop = cellFront, 0, 0, false, nil, false
	for i := range c.cells {
		if c.cells[i] = c.cells[i][:0]; cap(c.cells[i]) > 1<<20 {
			c.cells[i] = nil
		}
	}
	return c.scan()
}

// ragged is what is wrong with a row that has more or fewer cells than the head.
func (c *rows) ragged() error {
	if n := c.column + 1; n != len(c.names) {
		return fmt.Errorf("%s where the head has %s (a cell with a separator, a quote or a line end in it stands in quotes)",
			ui.Count(n, "cell"), ui.Count(len(c.names), "column"))
	}
	return nil
}

// row are the wanted cells. One that pandas reads as empty is null.
func (c *rows) row() map[string]any {
	m := map[string]any{}
	for i, n := range c.names {
		if !c.wanted[i] || i > c.column {
			continue
		}
		s := tokenizer.ReplaceInvalid(string(c.cells[i]))
		switch {
		case slices.Contains(noValue, s):
			if m[n] = nil; s != "" && c.passed != nil {
				c.passed(fmt.Sprintf("%q in %s (to pandas, and so here, an empty cell)", s, n))
			}
		case n == "label" && n != c.text && strings.EqualFold(s, "true"):
			m[n] = true
		case n == "label" && n != c.text && strings.EqualFold(s, "false"):
			m[n] = false
		default:
			m[n] = s
		}
	}
	return m
}

// Rest goes through the rest of the row.
func (c *rows) Rest(add func([]byte) error) (bad, err error) {
	c.drop = true
	if i := slices.Index(c.names, c.text); i >= 0 && add != nil {
		c.sink = func(b []byte) error {
			if bad == nil {
				bad = add(b)
			}
			if bad == record.ErrStopped {
				return bad
			}
			return nil
		}
		if err := c.sink(c.cells[i]); err != nil {
			return err, nil
		}
	}
	err = c.scan()
	switch {
	case bad == record.ErrStopped:
		return bad, nil
	case err == errOpenQuote:
		return err, nil
	case err == nil && bad == nil:
		bad = c.ragged()
	}
	return bad, err
}

// scan goes on to the row's end.
func (c *rows) scan() error {
	for {
		_, err := c.r.Peek(1) // which fills the buffer
		switch {
		case err == io.EOF && c.state == cellQuoted:
			return errOpenQuote
		case err == io.EOF && (c.solid || c.column > 0):
			return nil
		case err != nil:
			return err
		}
		b, _ := c.r.Peek(c.r.Buffered()) // it is there
		n, ended, err := c.run(b)
		_, _ = c.r.Discard(n) // it was peeked
		if ended || err != nil {
			return err
		}
	}
}

// run goes through some bytes, at most to the row's end, and says how far it came.
func (c *rows) run(b []byte) (n int, ended bool, err error) {
	if c.cr {
		c.cr = false
		if b[0] == '\n' {
			n++
		}
	}
	for n < len(b) {
		switch c.state {
		case cellFront, cellQuote:
			if b[n] == '"' {
				again := c.state == cellQuote
				c.state, c.solid = cellQuoted, true
				if n++; again {
					err = c.put(b[n-1 : n])
				}
				break
			}
			c.state = cellBare
		case cellQuoted:
			to := bytes.IndexByte(b[n:], '"')
			if to < 0 {
				to = len(b) - n
			}
			part := b[n : n+to]
			n += to
			if n < len(b) {
				c.state = cellQuote
				n++
			}
			c.line += bytes.Count(part, []byte{'\n'})
			err = c.put(part)
		case cellBare:
			to := 0
			for n+to < len(b) && b[n+to] != c.comma && b[n+to] != '\n' && b[n+to] != '\r' {
				to++
			}
			part := b[n : n+to]
			if n += to; to > 0 {
				err = c.put(part)
				break
			}
			c.cr = b[n] == '\r'
			if n++; b[n-1] != c.comma {
				c.line++
				return n, true, nil
			}
			c.column++
			c.state, c.solid = cellFront, true
			if c.wanted == nil { // a head of nothing but commas
				c.held += 64
				err = c.full()
			}
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// put adds to the cell.
func (c *rows) put(b []byte) error {
	if !c.solid {
		c.solid = len(bytes.Trim(b, " \t")) > 0
	}
	if c.wanted != nil && (c.column >= len(c.wanted) || !c.wanted[c.column]) {
		return nil
	}
	if c.drop {
		if c.sink != nil && c.names[c.column] == c.text {
			return c.sink(b)
		}
		return nil
	}
	c.upTo(c.column)
	c.cells[c.column] = append(c.cells[c.column], b...)
	c.held += len(b)
	return c.full()
}

// upTo makes room for the cells of a head.
func (c *rows) upTo(column int) {
	for len(c.cells) <= column {
		c.cells = append(c.cells, nil)
	}
}

func (c *rows) full() error {
	if c.held > c.most {
		return record.ErrLong
	}
	return nil
}
