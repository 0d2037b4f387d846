package jsonfile

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"longlora/internal/data/record"
)

// byteOrderMark is what some programs write before text in UTF-8.
var byteOrderMark = []byte("\ufeff")

// errCutShort is the fault of a record that ends too early.
var errCutShort = notJSON("it ends inside a value")

// Records gives the records of a JSON file as they lie in it, for Decode. One that Next finds too long is gone through
// by StreamText or Glance, or skipped, before Next is called again.
type Records interface {
	// Next appends the next record to dst, and says in which line it begins. bad is what is wrong with it, ErrLong
	// where it is longer than what was asked for; err is why reading ends: io.EOF at the file's end.
	Next(dst []byte) (out []byte, line int, bad, err error)
	// long is the record for which Next gave ErrLong, from its beginning, for one that goes through it.
	long() *lexer
	// Skip passes that record unread.
	Skip() error
	// pass ends going through that record. gone is what it ended with; bad is what is wrong with the record, err why
	// there is no going on.
	pass(gone error) (bad, err error)
}

// NewRecords reads the records of a JSON file in UTF-8, each up to most bytes: with byLines its lines, unless it is one
// array after all or its objects stand over several lines; else its objects, which stand in an array or one after
// another. An error is one of r's.
func NewRecords(r io.Reader, byLines bool, most int) (Records, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	if byLines {
		head, err := br.Peek(1 << 20)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if byLine(head) {
			return &lineReader{r: br, most: most}, nil
		}
	}
	l := newLexer(br, nil)
	l.most = most
	return &objectReader{lexer: l}, nil
}

// byLine reports whether a JSONL file that begins so has a record in each line. It has none where it begins an array,
// or an object that goes on, soundly, beyond its line, or that another follows in its line.
func byLine(head []byte) bool {
	head = bytes.TrimLeft(head, " \t\r\n")
	if len(head) == 0 || head[0] != '{' {
		return len(head) == 0 || head[0] != '['
	}
	l := lexer{b: head, held: -1}
	err := l.object(func(string) error { return l.value() })
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	first, _, more := bytes.Cut(head[:l.at], newline)
	if !more {
		return err != nil || !begins(head[l.at:])
	}
	// An object cut short and a whole one in the next line may look like one.
	_, rest, _ := bytes.Cut(head, []byte("\n"))
	next, _, _ := bytes.Cut(rest, []byte("\n"))
	return err != nil && json.Valid(next) && bytes.HasPrefix(next, []byte("{")) && len(first) > 1
}

// begins reports whether an object begins there, in the same line, behind a mark perhaps.
func begins(b []byte) bool {
	b = bytes.TrimPrefix(bytes.TrimLeft(b, " \t\r"), byteOrderMark)
	return len(b) > 0 && b[0] == '{'
}

// another is where in a line a second object begins, 0 where none does. Files that were joined have such lines, where
// the last line of one had no end. Lines without an opening brace after a closing one, which are most, are not gone
// through.
func another(line []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(line[from:], '}')
		if i < 0 {
			return 0
		}
		if from += i + 1; begins(line[from:]) {
			break
		}
	}
	l := lexer{b: line, held: -1}
	if c, err := l.token(); err != nil || c != '{' {
		return 0
	}
	if err := l.value(); err != nil || !begins(line[l.at:]) {
		return 0 // what is wrong with it is said where it is read
	}
	return l.at
}

// lineReader gives the objects in the lines of a JSONL file that are not blank.
type lineReader struct {
	r    *bufio.Reader
	most int
	n    int    // lines read
	left []byte // of the line, behind the object that was given last
	head []byte // of a line that is too long
	rest *lineRest
	*lexer
}

func (l *lineReader) Next(dst []byte) (out []byte, line int, bad, err error) {
	if len(l.left) > 0 {
		l.left = bytes.TrimPrefix(bytes.TrimLeft(l.left, " \t\r"), byteOrderMark)
		at := cmp.Or(another(l.left), len(l.left))
		out, l.left = append(dst, l.left[:at]...), l.left[at:]
		return out, l.n, nil, nil
	}
	for {
		l.n++
		out = dst
		for ended := false; !ended; {
			part, err := l.r.ReadSlice('\n')
			if len(out) == len(dst) { // files that were joined have marks in their midst
				part = bytes.TrimPrefix(part, byteOrderMark)
			}
			out = append(out, part...)
			switch {
			case err == io.EOF && len(bytes.TrimSpace(out[len(dst):])) == 0:
				return dst, l.n, nil, io.EOF
			case err != nil && err != io.EOF && err != bufio.ErrBufferFull: // the next call finds the end
				return dst, l.n, nil, err
			}
			ended = err != bufio.ErrBufferFull
			if n := len(out) - len(dst); n > l.most && len(bytes.TrimRight(out[len(out)-2:], "\r\n"))+n-2 > l.most {
				l.head, l.rest = bytes.Clone(out[len(dst):]), &lineRest{r: l.r, done: ended}
				return dst, l.n, record.ErrLong, nil
			}
		}
		if len(bytes.TrimSpace(out[len(dst):])) > 0 {
			if at := another(out[len(dst):]); at > 0 {
				l.left = append(l.left[:0], out[len(dst)+at:]...)
				out = out[:len(dst)+at]
			}
			return out, l.n, nil, nil
		}
	}
}

func (l *lineReader) long() *lexer {
	l.lexer = newLexer(l.rest, l.head)
	return l.lexer
}

func (l *lineReader) Skip() error {
	_, err := io.Copy(io.Discard, l.rest)
	return err
}

func (l *lineReader) pass(gone error) (bad, err error) {
	if gone == nil {
		if c, err := l.lexer.token(); err == nil {
			gone = notJSON("%q after the end of the object", c)
		}
	}
	if end := l.lexer.end; end != nil && end != io.EOF {
		return nil, end
	}
	if errors.Is(gone, io.ErrUnexpectedEOF) {
		gone = errCutShort
	}
	return gone, l.Skip()
}

// lineRest reads on to the end of a line.
type lineRest struct {
	r    *bufio.Reader
	done bool
}

func (l *lineRest) Read(p []byte) (int, error) {
	if l.done {
		return 0, io.EOF
	}
	if _, err := l.r.Peek(1); err != nil { // which fills the buffer
		return 0, err
	}
	b, _ := l.r.Peek(min(len(p), l.r.Buffered())) // it is there
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b, l.done = b[:i+1], true
	}
	n := copy(p, b)
	_, _ = l.r.Discard(n) // it was peeked
	return n, nil
}

// objectReader gives the elements of a JSON file: of an array, or values one after another.
type objectReader struct {
	*lexer
	array   bool
	started bool
	lineOf  int // of the element that was found last
}

// syntax is a fault in what stands around the elements, after which there is no going on.
func (o *objectReader) syntax(format string, a ...any) error { return o.fault(notJSON(format, a...)) }

func (o *objectReader) fault(err error) error { return fmt.Errorf("line %d: %w", o.lineAt(), err) }

func (o *objectReader) Next(dst []byte) (out []byte, line int, bad, err error) {
	c, err := o.token()
	if err == nil && !o.array && bytes.Equal(o.ahead(len(byteOrderMark)), byteOrderMark) {
		o.at += len(byteOrderMark)
		c, err = o.token()
	}
	if !o.started && err == nil {
		o.started = true
		if c == '[' {
			o.array = true
			o.at++
			if c, err = o.token(); err == nil && c == ']' {
				return dst, o.lineAt(), nil, o.close()
			}
		}
	} else if o.array && err == nil {
		switch c {
		case ']':
			return dst, o.lineAt(), nil, o.close()
		case ',':
			o.at++
			c, err = o.token()
		default:
			return dst, o.lineAt(), nil, o.syntax("%q where a comma or ] is wanted", c)
		}
	}
	if err == io.EOF && o.array {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return dst, o.lineAt(), nil, err
	}
	if c != '{' && c != '[' && c != '"' {
		return dst, o.lineAt(), nil, o.syntax("%q where an object is wanted", c)
	}
	o.lineOf = o.lineAt()
	o.held = o.at
	err = o.value()
	from := o.held
	o.held = -1
	if err == record.ErrLong || err == nil && o.at-from > o.most {
		o.at = from
		return dst, o.lineOf, record.ErrLong, nil
	}
	if err != nil {
		return dst, o.lineOf, nil, err
	}
	return append(dst, o.b[from:o.at]...), o.lineOf, nil, nil
}

// close passes an array's end and checks that nothing follows.
func (o *objectReader) close() error {
	o.at++
	c, err := o.token()
	if err == nil {
		return o.syntax("%q after the end of the array", c)
	}
	return err
}

func (o *objectReader) long() *lexer { return o.lexer }

func (o *objectReader) Skip() error { return o.value() }

// pass cannot find the end of an object in which something is wrong.
func (o *objectReader) pass(gone error) (bad, err error) {
	if gone == nil || errors.Is(gone, io.ErrUnexpectedEOF) {
		return nil, gone
	}
	return nil, o.fault(gone)
}
