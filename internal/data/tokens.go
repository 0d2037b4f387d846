package data

import (
	"longlora/internal/data/store"
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
		s.opt.idleExample(s.path, "is token ids")
		if a := s.opt.AddBOS; a != "" && a != Auto {
			s.opt.note("%s: is token ids: %s %s has no effect", s.path, errs.Option("add-bos"), a)
		}
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
func (s *source) openTokens(i int) (*store.Store, error) {
	path := s.files[i]
	if c := s.prepared[i]; c != nil {
		return store.OpenPrepared(path, c.prepared(), s.opt.Vocab)
	}
	return store.OpenPlain(path, s.opt.Vocab)
}

// join makes one store of several files.
func (s *source) join() error {
	for _, c := range s.prepared {
		if c != nil && c.examples() != s.prepared[0].examples() {
			return errs.Dataf("%s %s: prepared text beside prepared examples; give each its own %[1]s", s.opt.flag(), s.path)
		}
	}
	f, err := store.TempParts()
	if err != nil {
		return err
	}
	defer store.CloseParts(f)
	w := store.NewWriter(f, store.WidthFor(s.opt.Vocab), !s.plain && s.prepared[0].examples())
	for i := range s.files {
		st, err := s.openTokens(i)
		if err != nil {
			return err
		}
		if err := w.Copy(st); err != nil {
			st.Close()
			return err
		}
		st.Close()
	}
	s.st, err = w.Open()
	return err
}
