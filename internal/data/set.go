// Package data turns files into rows of tokens: it reads documents, packs them, orders rows, and does all of it
// the same way every time, so that a run can go on where it stopped.
//
// Tokens and tables lie in files that are mapped, prepared ones or temporary ones without a name, so that memory
// does not grow with the data.
package data

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/data/datafile"
	"longlora/internal/data/example"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/ui"
)

// Formats of data; Auto decides by the first document.
const (
	Auto   = "auto"
	Text   = example.Text
	Alpaca = example.Alpaca
	Chat   = example.Chat
	Tokens = "tokens"
)

// Options say what to read and how.
type Options struct {
	Paths         []string           // each perhaps with a weight
	Out           string             // the folder that results go to, which is no data
	Option        errs.Option        // what gives Paths, for messages; data unless set
	Format        string             // auto, text, alpaca, chat, tokens
	Template      string             // of examples: auto, a name, a file
	System        template.OwnSystem // of examples
	Pack          string             // auto, concat, cut, pad
	Ctx           int
	TextField     string
	TextNamed     bool // the user gave TextField
	SkipBad       bool
	Overlong      string // drop, truncate, error
	OverlongNamed bool   // the user gave Overlong
	TrainOnPrompt *bool  // nil: as the data was prepared, else no
	NoSpecial     bool
	AddBOS        string // auto, always, never: what Encoder's BOS was chosen by
	Vocab         int
	Encoder       Encoder   // nil when there is no tokenizer
	Tokenizer     *Identity // of Encoder
	NoEncoder     error     // why there is none
	HoldDocs      float64   // share of the documents, at the end, that a set leaves out and a stream is
	HostMem       int64     // bytes of host memory that may be used; 0: as much as it takes
	Log           io.Writer // progress and notes; nil: none

	told bool // what is to be said of the tokenizer
}

func (o *Options) flag() string { return cmp.Or(o.Option, "data").String() }

// name is what is read, as the user named it.
func (o *Options) name() string { return o.flag() + " " + strings.Join(o.Paths, ", ") }

// Row is one row of tokens. Docs are the starts of its documents, the first 0. Scored are the stretches of tokens
// that may be targets, in order; nil stands for all.
type Row struct {
	IDs    []int32
	Docs   []int32
	Scored []Span
}

// Span is a stretch [Lo, Hi) of tokens.
type Span struct{ Lo, Hi int32 }

// Set is all rows of all sources, in file order.
type Set struct {
	opt     Options
	sources []*source
	rows    int
	held    int // rows at the end that are held out
}

// Open reads everything and packs it. The set must be closed.
func Open(ctx context.Context, o Options) (*Set, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	s.keepBelow(o.HoldDocs)
	if err := s.pack(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func open(ctx context.Context, o Options) (*Set, error) {
	s := &Set{opt: o}
	for _, p := range o.Paths {
		src, err := openSource(p, &s.opt)
		if err == nil {
			s.noteTwice(src)
			s.sources = append(s.sources, src)
			err = src.load(ctx)
		}
		if err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close gives back what is mapped.
func (s *Set) Close() {
	for _, src := range s.sources {
		src.close()
	}
	s.sources = nil
}

// manyDocs is from how many documents on whole ones are held out; fewer are too coarse, and tokens are.
const manyDocs = 20

// cut is where the last share of the documents, or of the tokens, begins: a source and a token of it.
func (s *Set) cut(share float64) (source int, at int64) {
	docs, tokens, stream := int64(0), int64(0), false
	for _, src := range s.sources {
		docs, tokens, stream = docs+int64(src.st.Count), tokens+src.st.Tokens, stream || src.plain
	}
	byDoc := docs >= manyDocs && !stream
	left := CeilOf(share, tokens, tokens)
	if byDoc {
		left = CeilOf(share, docs, docs)
	}
	for i := len(s.sources) - 1; i >= 0; i-- {
		src := s.sources[i]
		have := src.st.Tokens
		if byDoc {
			have = int64(src.st.Count)
		}
		if left <= have {
			if byDoc {
				return i, src.st.End(int(have-left) - 1)
			}
			if at = have - left; src.st.Examples && at > 0 { // examples stay whole
				at = src.st.End(src.st.DocAt(at) - 1)
			}
			return i, at
		}
		left -= have
	}
	return 0, 0
}

// keepBelow drops the last share of the documents, which are held out.
func (s *Set) keepBelow(share float64) {
	if share == 0 {
		return
	}
	i, at := s.cut(share)
	for k := i; k < len(s.sources); k++ {
		st, end := s.sources[k].st, int64(0)
		if k == i {
			end = at
		}
		st.Keep(end)
	}
}

// pack divides the sources into rows.
func (s *Set) pack() error {
	for _, src := range s.sources {
		if err := src.layOut(); err != nil {
			return err
		}
		s.rows += src.rows
	}
	if int64(s.rows) > 1<<32-1 {
		return errs.Dataf("%s: more than 2^32 rows; give a larger %s", s.opt.flag(), errs.Option("ctx"))
	}
	if s.rows > 0 {
		return nil
	}
	for _, src := range s.sources {
		if n := src.fate.Dropped + src.fate.LongAnswers; n > 0 {
			or := ""
			if src.fate.Shorter > 0 {
				or = ", or " + errs.Option("overlong").String() + " truncate"
			}
			return errs.Dataf("%s %s: no example fits %s %d: all %d are longer; give a larger %s%s", s.opt.flag(),
				src.path, errs.Option("ctx"), s.opt.Ctx, n, errs.Option("ctx"), or)
		}
	}
	return errs.Dataf("%s: no whole row of %s %d tokens: %s, and a row wants %[3]d; give more text or a smaller %[2]s",
		s.opt.name(), errs.Option("ctx"), s.opt.Ctx, s.has())
}

// has says how many tokens there are to make rows of, by the longest source, as rows do not pass from one to another.
func (s *Set) has() string {
	longest := slices.MaxFunc(s.sources, func(a, b *source) int { return cmp.Compare(a.st.Tokens, b.st.Tokens) })
	what := fmt.Sprintf("it has %s", ui.Count(longest.st.Tokens, "token"))
	if len(s.sources) > 1 {
		what = fmt.Sprintf("the longest, %s, has %s", longest.path, ui.Count(longest.st.Tokens, "token"))
	}
	if s.opt.HoldDocs > 0 {
		what += fmt.Sprintf(" beside the last %v %% that is held out", 100*s.opt.HoldDocs)
	}
	return what
}

// Packs are the ways in which the sources are packed.
func (s *Set) Packs() (out []string) {
	for _, src := range s.sources {
		if !slices.Contains(out, src.pack) {
			out = append(out, src.pack)
		}
	}
	return out
}

// Cut reports whether rows hold several documents that do not see each other.
func (s *Set) Cut() bool { return slices.Contains(s.Packs(), "cut") }

// Padded reports whether rows are single documents, of different lengths.
func (s *Set) Padded() bool { return slices.Contains(s.Packs(), "pad") }

// Rows is the number of rows to train on.
func (s *Set) Rows() int { return s.rows - s.held }

// Held is the number of rows held out.
func (s *Set) Held() int { return s.held }

// HoldOut keeps the last ⌈f·rows⌉ rows for validation.
func (s *Set) HoldOut(f float64) error {
	s.held = int(CeilOf(f, int64(s.rows), int64(s.rows)))
	if s.held >= s.rows {
		return errs.Dataf("%s: %s %v of %d rows of %s %d leaves none to train on; give more text, a smaller %s, or other "+
			"text as %s",
			s.opt.name(), errs.Option("eval-fraction"), f, s.rows, errs.Option("ctx"), s.opt.Ctx, errs.Option("ctx"),
			errs.Option("eval-data"))
	}
	return nil
}

// Row is row i in file order; held-out rows follow those to train on.
func (s *Set) Row(i int) Row {
	for _, src := range s.sources {
		if i < src.rows {
			return src.row(i)
		}
		i -= src.rows
	}
	return Row{Docs: []int32{0}}
}

// of is the range of a source's rows that are trained on.
func (s *Set) of(source int) (lo, hi int) {
	for _, src := range s.sources[:source] {
		lo += src.rows
	}
	return min(lo, s.Rows()), min(lo+s.sources[source].rows, s.Rows())
}

// Fingerprints fingerprints every file read, whole, by their paths below --data.
func (s *Set) Fingerprints() ([]files.Fingerprint, error) {
	var out []files.Fingerprint
	for _, src := range s.sources {
		var read []string
		known := map[string]files.Fingerprint{} // prepared files were hashed when they were opened
		for i, c := range src.prepared {
			if c != nil {
				known[src.files[i]], known[datafile.IndexPath(src.files[i])] = c.Bin, c.Index
			}
		}
		inputs := src.inputs()
		for _, f := range inputs {
			if _, ok := known[f]; !ok {
				read = append(read, f)
			}
		}
		prints, err := files.Each(files.Whole, read)
		if err != nil {
			return nil, err
		}
		for i, f := range read {
			known[f] = prints[i]
		}
		for _, f := range inputs {
			p := known[f]
			name, err := filepath.Rel(src.path, f)
			if err != nil || name == "." || !filepath.IsLocal(name) {
				name = filepath.Base(f)
			}
			p.Name = files.Kept(name)
			out = append(out, p)
		}
	}
	return out, nil
}

// Input is a file that a set was made from. A mapped one is read from where it lies for as long as the set is open.
type Input struct {
	Path   string
	Mapped bool
}

// Inputs are the files that Fingerprints describes, in its order.
func (s *Set) Inputs() (out []Input) {
	for _, src := range s.sources {
		for _, f := range src.inputs() {
			out = append(out, Input{f, src.format == Tokens && len(src.files) == 1})
		}
	}
	return out
}
