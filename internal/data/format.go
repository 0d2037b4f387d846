package data

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"

	"longlora/internal/data/datafile"
	"longlora/internal/data/example"
	"longlora/internal/data/folder"
	"longlora/internal/data/jsonfile"
	"longlora/internal/data/record"
	"longlora/internal/errs"
)

// idleField notes a field of text that was named for data that has no such field.
func (s *source) idleField() {
	records := slices.ContainsFunc(s.files, func(f string) bool { k, _ := datafile.KindOf(f); return k.Structured() })
	if s.opt.TextNamed && s.format != Tokens && (s.format != Text || !records) {
		what := "text files"
		if s.format != Text {
			what = s.format + " examples"
		}
		s.note("%s: %s: %s %s has no effect", s.path, what, errs.Option("text-field"), s.opt.TextField)
	}
}

// findFormat is the format asked for, or that of the first document. Files that cannot hold it are left out of a
// folder: its README beside examples.
func (s *source) findFormat() (string, error) {
	kinds, structured := map[datafile.Kind]int{}, 0
	for _, f := range s.files {
		k, _ := datafile.KindOf(f)
		kinds[k]++
		if k.Structured() {
			structured++
		}
	}
	format := s.opt.Format
	if format == "" {
		format = Auto
	}
	switch {
	case format == Tokens:
		return Tokens, nil
	case kinds[datafile.Tokens] == len(s.files) && format != Auto:
		for _, f := range s.files { // prepared data goes by its source's format as well
			if c, err := readSidecar(f); err != nil || c == nil || c.Format != format {
				return "", errs.Usagef("%s %s: %s holds token ids", errs.Option("format"), format, f)
			}
		}
		return Tokens, nil
	case kinds[datafile.Tokens] == len(s.files):
		return Tokens, nil
	case kinds[datafile.Tokens] > 0:
		i := slices.IndexFunc(s.files, func(f string) bool { k, _ := datafile.KindOf(f); return k == datafile.Tokens })
		return "", errs.Dataf("%s %s: token files beside others: %s; give each its own %[1]s", s.opt.flag(), s.path,
			s.files[i])
	case kinds[datafile.Unknown] > 0 && format != Text:
		return "", datafile.UnknownKind(s.files[0])
	case format == Auto && structured == 0:
		return Text, nil
	}
	if format == Auto {
		var err error
		if format, err = s.detect(); err != nil {
			return "", err
		}
	}
	if format == Text {
		return Text, nil
	}
	if structured == 0 {
		return "", errs.Usagef("%s %s: %s is text; examples come as .jsonl, .json, .csv, .parquet or .arrow",
			errs.Option("format"), format, s.path)
	}
	s.files = slices.DeleteFunc(s.files, func(f string) bool {
		k, _ := datafile.KindOf(f)
		if k == datafile.Text {
			s.note("%s is left out: it is text beside examples", f)
		}
		return k == datafile.Text
	})
	return format, nil
}

// detect is the format of the first good record of the structured files.
func (s *source) detect() (string, error) {
	var first error
	for _, f := range s.files {
		if k, _ := datafile.KindOf(f); k == datafile.Text {
			continue
		}
		format, err := s.detectIn(f)
		if err == nil {
			return format, nil
		}
		if first == nil {
			first = err
		}
		if !s.opt.SkipBad && !errors.Is(err, errNone) {
			return "", err
		}
	}
	return "", first
}

// errNone is in the fault of a file that is whole and holds nothing: a table without rows, an empty list.
var errNone = errors.New("the file holds no document")

func noDocument(path string) error { return errs.Dataf("%s: %w", path, errNone) }

// none is the fault of a file that holds no document, unless another one does: programs that write many files leave
// some empty.
func (s *source) none(path string) error {
	if s.empty = append(s.empty, path); len(s.empty) == len(s.files) {
		return noDocument(path)
	}
	return nil
}

// noteEmpty says which files held nothing.
func (s *source) noteEmpty() {
	if n := len(s.empty); n > 0 && n < len(s.files) {
		s.note("%s: %s passed over, without a document: %s", s.path, folder.Number(n), folder.Few(s.empty))
	}
	s.empty = nil
}

func (s *source) detectIn(path string) (string, error) {
	x, err := s.open(path)
	if err != nil {
		return "", err
	}
	defer x.Close()
	k, _ := datafile.KindOf(path)
	next, stop, err := s.looker(x, k)
	if err != nil {
		return "", x.Fault(err)
	}
	defer stop()
	for {
		m, names, n, bad, err := next()
		if err == io.EOF {
			return "", noDocument(path)
		}
		if err != nil {
			return "", x.Fault(err)
		}
		var format string
		if bad == nil {
			format, bad = example.Detect(m, names, s.opt.TextField, s.opt.TextNamed)
			if bad != nil && k == datafile.Delimited {
				bad = fmt.Errorf("%w (the first row names the columns)", bad)
			}
		}
		if bad == nil {
			if record.SizeOf(m) > inFlight {
				debug.FreeOSMemory() // before it is read again
			}
			return format, nil
		}
		if bad == record.ErrLong && !s.opt.SkipBad {
			return "", s.opt.tooLong(s.where(path, k, n, 0))
		}
		if !s.opt.SkipBad {
			return "", errs.Dataf("%s: %w; mend it, or pass %s", s.where(path, k, n, 0), bad, errs.Option("skip-bad"))
		}
	}
}

// looker gives a file's records as detection wants them: the fields of a long one without what they say.
func (s *source) looker(x *datafile.File, k datafile.Kind) (
	next func() (m map[string]any, names []string, line int, bad, err error), stop func(), err error) {
	want := example.FieldsOf(Auto, s.opt.TextField)
	if k.Table() {
		t, err := s.table(k, x, want, nil)
		if err != nil {
			return nil, nil, err
		}
		return func() (map[string]any, []string, int, error, error) {
			m, n, bad, err := t.Next()
			if err == nil && bad == record.ErrLong {
				bad, err = t.Rest(nil)
			}
			if err == nil {
				err = grown(x, k, m)
			}
			return m, t.Columns(), n, bad, err
		}, t.Close, nil
	}
	wanted := func(field string) bool { return slices.Contains(want, field) }
	rs, err := jsonfile.NewRecords(x, k == datafile.Lines, longRecord)
	return func() (m map[string]any, names []string, line int, bad, err error) {
		b, line, bad, err := rs.Next(nil)
		switch {
		case err == nil && bad == record.ErrLong:
			m, names, bad, err = jsonfile.Glance(rs, wanted)
		case err == nil && bad == nil:
			m, names, bad = jsonfile.Decode(b, wanted)
		}
		return m, names, line, bad, err
	}, func() {}, err
}
