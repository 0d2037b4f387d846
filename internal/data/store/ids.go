package store

import (
	"encoding/binary"
	"hash"
	"os"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/par"
	"longlora/internal/proc"
)

// checkTokens reads a file of ids through: a whole number of them, all in the vocabulary. Where h is not nil it gets
// all bytes, meanwhile.
func checkTokens(f *os.File, width, vocab int, h hash.Hash) error {
	st, err := f.Stat()
	if err != nil {
		return files.Fault(f.Name(), err)
	}
	if st.Size() == 0 {
		return errs.Dataf("%s: the file is empty", f.Name())
	}
	if st.Size()%int64(width) != 0 {
		return errs.Dataf("%s: %d bytes are no whole number of %d-byte token ids", f.Name(), st.Size(), width)
	}
	buf := make([]byte, 4<<20)
	for at := int64(0); at < st.Size(); {
		b := buf[:min(int64(len(buf)), st.Size()-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return files.Fault(f.Name(), err)
		}
		var wg par.Group
		if h != nil {
			wg.Go(func() { h.Write(b) })
		}
		i := outside(b, width, vocab)
		if i >= 0 {
			return errs.Dataf("%s: token %d at byte %d is outside the vocabulary of %d; the file is of another tokenizer, or "+
				"damaged", f.Name(), readID(b, i, width), at+int64(i*width), vocab)
		}
		wg.Wait()
		at += int64(len(b))
	}
	return nil
}

// outside is the first id of b that is not below vocab, -1 where there is none. Eight bytes are compared at a time:
// each id's lower bits get what vocab lacks to the id's top bit, which is then set where they reach vocab.
func outside(b []byte, width, vocab int) int {
	bits := 8 * width
	v, top := uint64(vocab), uint64(1)<<(bits-1)
	if v >= 2*top {
		return -1
	}
	ones := ^uint64(0) / (2*top - 1) // 1 in each id
	tops, add := ones*top, ones*(top-v)
	if v > top { // an id must have its top bit and the rest of vocab
		add = ones * (2*top - v)
	}
	n := len(b) / 8 * 8
	for from := 0; from < n; from += 1 << 15 {
		to, hit := min(n, from+1<<15), uint64(0)
		for i := from; i < to; i += 8 {
			x := binary.LittleEndian.Uint64(b[i:])
			if sum := x&^tops + add; v > top {
				hit |= sum & x
			} else {
				hit |= sum | x
			}
		}
		if hit&tops != 0 {
			n = from
		}
	}
	for i := n / width; i < len(b)/width; i++ {
		if uint64(readID(b, i, width)) >= v {
			return i
		}
	}
	return -1
}

// readID is id i of b.
func readID(b []byte, i, width int) uint32 {
	if width == 2 {
		return uint32(binary.LittleEndian.Uint16(b[2*i:]))
	}
	return binary.LittleEndian.Uint32(b[4*i:])
}

// OpenPlain maps a file of ids without documents, once all of them were found to be in the vocabulary; one that is not
// is a data error with its place. The store must be closed.
func OpenPlain(path string, vocab int) (*Store, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	width := WidthFor(vocab)
	if err := checkTokens(f, width, vocab, nil); err != nil {
		return nil, err
	}
	b, err := proc.Map(f)
	if err != nil {
		return nil, err
	}
	return &Store{ids: b, width: width, Tokens: int64(len(b) / width)}, nil
}
