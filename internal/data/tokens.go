package data

import (
	"encoding/binary"
	"hash"
	"os"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/par"
	"longlora/internal/proc"
)

// loadTokens opens token files. A single one is mapped where it lies; several are joined in a temporary store.
func (s *source) loadTokens() error {
	s.prepared = make([]*sidecar, len(s.files))
	known := 0
	for i, f := range s.files {
		c, err := readSidecar(f)
		if err != nil {
			return err
		}
		if c != nil {
			if err := c.verify(f, s.opt); err != nil {
				return err
			}
			known++
			s.skipped += c.Skipped
			s.all = s.all || c.TrainOnPrompt
		}
		s.prepared[i] = c
	}
	if s.opt.TrainOnPrompt != nil {
		s.all = *s.opt.TrainOnPrompt
	}
	if known == 0 {
		s.plain = true
		s.opt.idleExample(s.path, "is token ids")
	} else if known < len(s.files) {
		return errs.Dataf("%s %s: prepared token files beside plain ones; give each its own %[1]s", s.opt.flag(), s.path)
	}
	if len(s.files) == 1 {
		var err error
		s.st, err = s.openTokens(0)
		return err
	}
	return s.join()
}

// openTokens maps token file i.
func (s *source) openTokens(i int) (*store, error) {
	path := s.files[i]
	if c := s.prepared[i]; c != nil {
		return openPrepared(path, c, s.opt.Vocab)
	}
	f, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	width := widthFor(s.opt.Vocab)
	if err := checkTokens(f, width, s.opt.Vocab, nil); err != nil {
		return nil, err
	}
	b, err := proc.Map(f)
	if err != nil {
		return nil, err
	}
	return &store{ids: b, width: width, tokens: int64(len(b) / width)}, nil
}

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

// join makes one store of several files.
func (s *source) join() error {
	for _, c := range s.prepared {
		if c != nil && c.examples() != s.prepared[0].examples() {
			return errs.Dataf("%s %s: prepared text beside prepared examples; give each its own %[1]s", s.opt.flag(), s.path)
		}
	}
	f, err := tempFiles()
	if err != nil {
		return err
	}
	defer closeAll(f)
	w := newStoreWriter(f, widthFor(s.opt.Vocab), !s.plain && s.prepared[0].examples())
	for i := range s.files {
		st, err := s.openTokens(i)
		if err != nil {
			return err
		}
		if err := w.copy(st); err != nil {
			st.close()
			return err
		}
		st.close()
	}
	s.st, err = w.open()
	return err
}

// copy adds another store's documents.
func (w *storeWriter) copy(st *store) error {
	if st.count == 0 {
		w.tokens += uint64(st.tokens)
		if _, err := w.w[0].Write(st.ids); err != nil {
			return w.fault(err)
		}
		return nil
	}
	for d := range st.count {
		var x document
		if st.examples {
			x = st.example(d)
		}
		lo, hi := st.end(d-1), st.end(d)
		x.n = int(hi - lo)
		if err := w.add(&result{ids: st.read(nil, lo, hi), docs: []document{x}}); err != nil {
			return err
		}
	}
	return nil
}
