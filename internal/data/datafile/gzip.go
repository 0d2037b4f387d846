package datafile

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
)

// members reads the members of a gzip file one after another. The library does so too, but takes a file that ends
// within the name in a later member's header for a whole one.
type members struct {
	br *bufio.Reader
	r  *gzip.Reader
}

func newMembers(br *bufio.Reader) (*members, error) {
	r, err := gzip.NewReader(br)
	if err != nil {
		return nil, err
	}
	r.Multistream(false)
	return &members{br, r}, nil
}

func (m *members) Read(p []byte) (int, error) {
	for {
		n, err := m.r.Read(p)
		if err != io.EOF {
			return n, err
		}
		if n > 0 {
			return n, nil
		}
		if err := m.padding(); err != nil {
			return 0, err
		}
		if err := m.r.Reset(m.br); err == io.EOF {
			return 0, io.ErrUnexpectedEOF
		} else if err != nil {
			return 0, err
		}
		m.r.Multistream(false)
	}
}

// padding passes the zeros with which tapes and archives fill up their blocks; io.EOF says that nothing else follows,
// gzip.ErrHeader that it is no member.
func (m *members) padding() error {
	for {
		b, err := m.br.Peek(2)
		switch {
		case len(b) == 0:
			return err
		case b[0] == '\x1f' && (len(b) == 1 || b[1] == '\x8b'):
			return nil
		case b[0] != 0:
			return gzip.ErrHeader
		}
		_, _ = m.br.Discard(1) // it was peeked
	}
}
