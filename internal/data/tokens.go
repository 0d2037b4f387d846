package data

import (
	"encoding/binary"
	"errors"
	"io"
	"os"

	"longlora/internal/errs"
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
		return openPrepared(path, c)
	}
	width := widthFor(s.opt.Vocab)
	if err := checkTokens(path, width, s.opt.Vocab); err != nil {
		return nil, err
	}
	b, err := mapPath(path)
	if err != nil {
		return nil, err
	}
	return &store{ids: b, width: width, tokens: int64(len(b) / width)}, nil
}

// checkTokens reads a file of plain ids through: a whole number of them, all in the vocabulary.
func checkTokens(path string, width, vocab int) error {
	f, err := os.Open(path)
	if err != nil {
		return errs.Dataf("%w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return errs.Dataf("%w", err)
	}
	if st.Size() == 0 {
		return errs.Dataf("%s: the file is empty", path)
	}
	if st.Size()%int64(width) != 0 {
		return errs.Dataf("%s: %d bytes are no whole number of %d-byte token ids", path, st.Size(), width)
	}
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := io.ReadFull(f, buf)
		for i := 0; i+width <= n; i += width {
			id := uint32(binary.LittleEndian.Uint16(buf[i:]))
			if width == 4 {
				id = binary.LittleEndian.Uint32(buf[i:])
			}
			if int64(id) >= int64(vocab) {
				return errs.Dataf("%s: token %d at byte %d is outside the vocabulary of %d; the file is of another tokenizer", path, id, at+int64(i), vocab)
			}
		}
		at += int64(n)
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return errs.Dataf("%s: %w", path, err)
		}
	}
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
