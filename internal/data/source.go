package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"longlora/internal/data/datafile"
	"longlora/internal/data/example"
	"longlora/internal/data/folder"
	"longlora/internal/data/record"
	"longlora/internal/data/store"
	"longlora/internal/data/template"
	"longlora/internal/errs"
)

// source is one --data: its files, how their documents become tokens, the tokens, and how they lie in rows.
type source struct {
	opt     *Options
	path    string
	weight  float64 // 0: all rows
	files   []string
	was     map[string]fs.FileInfo // the files as they were found
	format  string                 // Text, Alpaca, Chat or Tokens
	fields  []string               // that the format reads
	columns [][]string             // of each table
	encoder encoder
	read    atomic.Int64 // bytes taken from the disk

	st       *store.Store
	plain    bool // ids without documents
	all      bool // every token of an example is scored
	skipped  int  // malformed records
	unread   unread
	nulls    atomic.Bool // a table's functions or calls hold fields that are null
	replaced replaced
	empty    []string // files without a document
	prepared []*sidecar
	layout
}

// splitWeight reads PATH:0.3; the number is a weight only when no file has the whole name.
func splitWeight(s string) (path string, weight float64, err error) {
	if _, err := os.Stat(s); err == nil {
		return s, 0, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, nil
	}
	const most = 1_000_000
	w, err := strconv.ParseFloat(s[i+1:], 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // which is a number, one too large
		return s, 0, nil
	}
	if !(w > 0) || w > most {
		return "", 0, errs.Usagef("%s: the weight %s must be above 0 and at most %d", s, s[i+1:], most)
	}
	return s[:i], w, nil
}

// openSource lists a source's files and finds out their format.
func openSource(arg string, o *Options) (*source, error) {
	path, w, err := splitWeight(arg)
	if err != nil {
		return nil, fmt.Errorf("%s %w", o.flag(), err)
	}
	s := &source{opt: o, path: path, weight: w, was: map[string]fs.FileInfo{}}
	var notes []string
	if s.files, notes, err = folder.Files(path, o.Out); err != nil {
		return nil, fmt.Errorf("%s %w", o.flag(), err)
	}
	for _, n := range notes {
		s.note("%s", n)
	}
	for _, f := range s.files {
		if s.was[f], err = datafile.Look(f); err != nil {
			return nil, fmt.Errorf("%s %w", o.flag(), err)
		}
	}
	if s.format, err = s.findFormat(); err != nil {
		return nil, err
	}
	s.idleField()
	s.fields = example.FieldsOf(s.format, s.opt.TextField)
	s.read.Store(0) // it will be read again
	s.columns = make([][]string, len(s.files))
	return s, nil
}

// table opens a file of rows for some of its columns.
func (s *source) table(k datafile.Kind, x *datafile.File, want []string, passed func(string)) (record.Rows, error) {
	most := s.opt.recordLimit()
	a := record.Want{Columns: want, Text: s.opt.TextField, Long: most, Most: most, Passed: passed}
	if s.format == Text || s.format == "" {
		a.Long = min(most, longRecord)
	}
	t, err := newRows(k, x, a)
	if err == record.ErrLong {
		err = s.opt.tooLong(x.Path)
	}
	return t, err
}

// want reports whether a field is one that the source's format reads.
func (s *source) want(field string) bool { return slices.Contains(s.fields, field) }

// open opens one of the source's files, as it was found.
func (s *source) open(path string) (*datafile.File, error) {
	return datafile.Open(path, s.was[path], &s.read, s.opt.HostMem)
}

// where names a record for messages.
func (s *source) where(path string, k datafile.Kind, line, number int) string {
	switch {
	case k == datafile.Lines || k == datafile.Delimited:
		return fmt.Sprintf("%s:%d", path, line)
	case k == datafile.Objects && number > 0:
		return fmt.Sprintf("%s:%d (object %d)", path, line, number)
	case k == datafile.Objects:
		return fmt.Sprintf("%s:%d", path, line)
	case k == datafile.Parquet || k == datafile.Arrow:
		return fmt.Sprintf("%s: row %d", path, line)
	}
	return path
}

// whereIs names the document d of a source that is read or was prepared.
func (s *source) whereIs(x *store.Document, d int) string {
	files := s.files
	if len(s.prepared) > 0 {
		files = nil
		if len(s.prepared) == 1 {
			files = s.prepared[0].paths()
		}
	}
	if x.File < len(files) {
		k, _ := datafile.KindOf(files[x.File])
		return s.where(files[x.File], k, x.Line, 0)
	}
	return fmt.Sprintf("%s: document %d", s.path, d+1)
}

// note says something on the log.
func (s *source) note(format string, a ...any) { s.opt.note(format, a...) }

func (o *Options) note(format string, a ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, "note: "+format+"\n", a...)
	}
}

// idleExample notes what was given for examples and has no effect on a path that holds something else.
func (o *Options) idleExample(path, holds string) {
	idle := func(given bool, name errs.Option, value string) {
		if given {
			o.note("%s: %s, not examples: %s has no effect", path, holds, strings.TrimSpace(name.String()+" "+value))
		}
	}
	idle(o.Template != "" && o.Template != Auto, "template", o.Template)
	idle(o.TrainOnPrompt != nil && *o.TrainOnPrompt, "train-on-prompt", "")
	idle(o.OverlongNamed, "overlong", o.Overlong)
}

// unread are the fields of examples that were passed over, gathered from all workers.
type unread struct {
	mu    sync.Mutex
	names map[string]bool
}

func (u *unread) add(names []string) {
	if len(names) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.names == nil {
		u.names = map[string]bool{}
	}
	const most = 1000 // more tell nobody anything
	for _, n := range names {
		if len(u.names) < most {
			u.names[n] = true
		}
	}
}

// noteUnread says which fields were passed over, once for all examples.
func (s *source) noteUnread() {
	if n := slices.Sorted(maps.Keys(s.unread.names)); len(n) > 0 {
		s.note("%s: not read: %s", s.path, example.FieldList(nil, n))
	}
	if s.nulls.Load() {
		s.note("%s: functions or calls are written with fields that are null, as a table has them in every row where one "+
			"row has them; write functions and calls as JSON in a string where null is not meant", s.path)
	}
}

// load brings the source's tokens into a store.
func (s *source) load(ctx context.Context) error {
	if s.format == Tokens {
		return s.loadTokens()
	}
	if err := s.openEncoder(); err != nil {
		return err
	}
	f, err := store.TempParts()
	if err != nil {
		return err
	}
	defer store.CloseParts(f)
	w := store.NewWriter(f, store.WidthFor(s.opt.Vocab), s.format != Text)
	p := newProgress(s, "reading")
	err = s.encode(ctx, place{}, func(r *result) error {
		s.skipped += r.skipped
		p.show(w.Tokens)
		return w.Add(r.ids, r.docs)
	})
	if errors.Is(err, context.Canceled) {
		return errs.Interruptedf("interrupted while reading %s %s; nothing had begun", errs.Option("data"), s.path)
	}
	if err != nil {
		return err
	}
	p.done(w.Tokens)
	s.noteUnread()
	s.all = s.format != Text && s.opt.TrainOnPrompt != nil && *s.opt.TrainOnPrompt
	s.st, err = w.Open()
	return err
}

// openEncoder makes what turns the source's documents into tokens.
func (s *source) openEncoder() error {
	o := s.opt
	if o.Encoder == nil {
		return o.NoEncoder
	}
	s.encoder = encoder{enc: o.Encoder, vocab: o.Vocab, noSpecial: o.NoSpecial}
	if err := s.encoder.checkEnds(s.format == Text); err != nil {
		return err
	}
	if !o.told {
		o.told = true
		for _, n := range o.Encoder.Notes() {
			s.note("%s", n)
		}
		if n := o.Encoder.Size(); n > o.Vocab {
			s.note("the tokenizer has %d entries and the model %d rows: a text with %s or a later one is refused", n, o.Vocab,
				o.Encoder.Describe(int32(o.Vocab)))
		}
	}
	s.encoder.drop, s.encoder.parts = o.Encoder.Parts()
	if s.format == Text {
		o.idleExample(s.path, "is text")
		return nil
	}
	chat := ""
	if o.Tokenizer != nil {
		chat = o.Tokenizer.chat
	}
	t, err := template.Open(o.Template, chat, o.System, o.Encoder)
	if err != nil {
		return err
	}
	s.encoder.template = t
	of, model := t.Notes(s.format+" examples", chat, o.Encoder)
	s.note("%s: %s", s.path, of)
	for _, n := range model {
		if o.Tokenizer == nil || !o.Tokenizer.said[n] {
			s.note("%s", n)
		}
		if o.Tokenizer != nil {
			o.Tokenizer.said[n] = true
		}
	}
	return nil
}

func (s *source) close() {
	if s.st != nil {
		s.st.Close()
	}
	for _, t := range []*store.Table{s.members, s.ends} {
		if t != nil {
			t.Close()
		}
	}
}

// inputs are the files that the source's tokens depend on.
func (s *source) inputs() []string {
	out := slices.Clone(s.files)
	for i, c := range s.prepared {
		if c != nil {
			out = append(out, datafile.SidecarPath(s.files[i]), datafile.IndexPath(s.files[i]))
		}
	}
	return out
}
