// Package store keeps tokens with the bounds of their documents on the disk: it writes them, document after document,
// and maps what was written, or what prepare made, so that memory does not grow with the data.
package store

import (
	"encoding/binary"
	"math"
	"sort"

	"longlora/internal/errs"
	"longlora/internal/proc"
)

// Store is a source's tokens with its documents' boundaries and masks, mapped from files: of a prepared source, or
// temporary ones without a name. Only pages that are used are in memory, and the system may drop them.
//
// ids are little-endian uint16, or uint32. A text document's record is its end in the stream (uint64). An example's is
//
//	end, end of its spans (uint64), first and last token that may be left out, file, line (uint32)
//
// and a span two uint32: the tokens [lo, hi) of the example that are scored.
type Store struct {
	ids, docs, spans []byte
	width            int    // bytes of an id
	Examples         bool   // the documents are instruction examples
	Tokens           int64  // of the stream
	Count            int    // documents; 0 where there are ids alone
	mapped           []byte // where docs and spans are parts of one file
}

// Sizes of records, in bytes.
const (
	textRecord    = 8
	exampleRecord = 32
	spanRecord    = 8
)

// WidthFor is the size of an id for a vocabulary, in bytes: 2 or 4.
func WidthFor(vocab int) int {
	if vocab > 1<<16 {
		return 4
	}
	return 2
}

// recordSize is the length of a document's record, in bytes.
func (s *Store) recordSize() int {
	if s.Examples {
		return exampleRecord
	}
	return textRecord
}

// id is token i of the stream.
func (s *Store) id(i int64) int32 {
	if s.width == 2 {
		return int32(binary.LittleEndian.Uint16(s.ids[2*i:]))
	}
	return int32(binary.LittleEndian.Uint32(s.ids[4*i:]))
}

// Read appends tokens [lo, hi) of the stream to out.
func (s *Store) Read(out []int32, lo, hi int64) []int32 {
	for i := lo; i < hi; i++ {
		out = append(out, s.id(i))
	}
	return out
}

// End is where document d ends in the stream; that of document -1 is 0.
func (s *Store) End(d int) int64 {
	if d < 0 {
		return 0
	}
	return min(int64(binary.LittleEndian.Uint64(s.docs[d*s.recordSize():])), s.Tokens)
}

// DocAt is the document that token i belongs to.
func (s *Store) DocAt(i int64) int {
	return sort.Search(s.Count, func(d int) bool { return s.End(d) > i })
}

// Example is document d of a store of examples, its tokens counted from its first.
func (s *Store) Example(d int) Document {
	r := s.docs[d*exampleRecord:]
	u32 := binary.LittleEndian.Uint32
	x := Document{N: int(s.End(d) - s.End(d-1)), Trim: Span{int(u32(r[16:])), int(u32(r[20:]))}, File: int(u32(r[24:])),
		Line: int(u32(r[28:]))}
	from := uint64(0)
	if d > 0 {
		from = binary.LittleEndian.Uint64(s.docs[(d-1)*exampleRecord+8:])
	}
	for i := from; i < binary.LittleEndian.Uint64(r[8:]); i++ {
		p := s.spans[i*spanRecord:]
		x.Answers = append(x.Answers, Span{int(u32(p)), int(u32(p[4:]))})
	}
	return x
}

// check goes through the records once: a damaged index must not be trusted later.
func (s *Store) check(path string) error {
	bad := func(d int) error {
		return errs.Dataf("%s: the record of document %d is damaged; prepare the data again", path, d+1)
	}
	last, lastSpan := uint64(0), uint64(0)
	for d := range s.Count {
		r := s.docs[d*s.recordSize():]
		end := binary.LittleEndian.Uint64(r)
		if end < last || end > uint64(s.Tokens) || end-last > math.MaxUint32 {
			return bad(d)
		}
		n := uint32(end - last)
		last = end
		if !s.Examples {
			continue
		}
		to := binary.LittleEndian.Uint64(r[8:])
		lo, hi := binary.LittleEndian.Uint32(r[16:]), binary.LittleEndian.Uint32(r[20:])
		if to < lastSpan || to > uint64(len(s.spans)/spanRecord) || lo > hi || hi > n {
			return bad(d)
		}
		at := uint32(0)
		for ; lastSpan < to; lastSpan++ {
			p := s.spans[lastSpan*spanRecord:]
			a, b := binary.LittleEndian.Uint32(p), binary.LittleEndian.Uint32(p[4:])
			if a < at || b < a || b > n {
				return bad(d)
			}
			at = b
		}
	}
	if last != uint64(s.Tokens) {
		return errs.Dataf("%s: its documents hold %d tokens, the file of ids %d; prepare the data again", path, last,
			s.Tokens)
	}
	return nil
}

// Close gives back what is mapped; the store is empty then.
func (s *Store) Close() {
	maps := [][]byte{s.ids, s.docs, s.spans}
	if s.mapped != nil {
		maps = [][]byte{s.ids, s.mapped}
	}
	for _, b := range maps {
		_ = proc.Unmap(b) // only read
	}
	*s = Store{}
}

// Keep leaves the stream its first tokens alone, n of them; the last document may lose its end.
func (s *Store) Keep(n int64) {
	if s.Count > 0 && n < s.Tokens {
		s.Count = s.DocAt(n)
		if s.End(s.Count-1) < n {
			s.Count++ // the rest of a document that is cut in two
		}
	}
	s.Tokens = n
}
