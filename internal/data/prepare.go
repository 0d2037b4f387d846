package data

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/data/datafile"
	"longlora/internal/data/store"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// Prepared is what Prepare reports.
type Prepared struct {
	Documents int     `json:"documents"`
	Tokens    int64   `json:"tokens"`
	Bytes     int64   `json:"bytes"` // of the text that was read, decompressed
	Seconds   float64 `json:"seconds"`
	Out       string  `json:"out"`
	Skipped   int     `json:"skipped,omitempty"` // malformed documents, under --skip-bad
}

// Prepare writes the one source of o.Paths as token ids to out, with sidecars, so that training need not encode it
// again. Interrupted, by a signal or a kill, the same call goes on where it stopped; files appear whole or not at all.
func Prepare(ctx context.Context, o Options, out, program string) (*Prepared, error) {
	if err := CheckOut(out); err != nil {
		return nil, err
	}
	s, err := openSource(o.Paths[0], &o)
	if err != nil {
		return nil, err
	}
	if s.weight != 0 {
		return nil, errs.Usagef("%s %s: a weight belongs to train", errs.Option("data"), o.Paths[0])
	}
	if s.format == Tokens {
		return nil, errs.Usagef("%s %s: holds token ids already", errs.Option("data"), s.path)
	}
	if k, _ := datafile.KindOf(out); k != datafile.Tokens {
		s.note("%s: a name that does not end in .bin, by which prepared tokens are known; read it with %s %s", out,
			errs.Option("format"), Tokens)
	}
	for _, f := range s.files {
		if sameFile(f, out) {
			return nil, errs.Usagef("%s %s: is one of the files of %s", errs.Option("out"), out, errs.Option("data"))
		}
	}
	if err := s.openEncoder(); err != nil {
		return nil, err
	}
	p := preparation{s: s, out: out, part: partDir(out)}
	if p.want, err = s.describe(program); err != nil {
		return nil, err
	}
	if done := p.finished(); done != nil { // perhaps in a folder that is only read
		return done, nil
	}
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.close()
	if done := p.finished(); done != nil { // by who was waited for
		return done, nil
	}
	return p.make(ctx)
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// partDir is where a preparation lies until it is whole.
func partDir(out string) string {
	return filepath.Join(filepath.Dir(out), "."+filepath.Base(out)+".part")
}

// CheckOut refuses an output whose place is taken by something that no preparation wrote.
func CheckOut(out string) error {
	c := &sidecar{}
	described := files.ReadJSON(datafile.SidecarPath(out), c) == nil && strings.HasPrefix(c.Kind, preparedKind)
	indexed := store.IsIndex(datafile.IndexPath(out))
	for path, ours := range map[string]bool{out: described || indexed, datafile.SidecarPath(out): described,
		datafile.IndexPath(out): described || indexed} {
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return files.Fault(path, err)
		case st.IsDir():
			return errs.Usagef("%s %s: %s is a folder where a file is to be written", errs.Option("out"), out, path)
		case !ours:
			return taken(out, path)
		}
	}
	entries, err := os.ReadDir(partDir(out))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return files.Fault(partDir(out), err)
	}
	for _, e := range entries {
		if n := strings.TrimPrefix(e.Name(), "."); !slices.Contains(partNames[:], n) && !strings.HasPrefix(n,
			prepareStateName) {
			return taken(out, filepath.Join(partDir(out), e.Name()))
		}
	}
	return nil
}

func taken(out, path string) error {
	return errs.Usagef("%s %s: %s is there and was not written by prepare; it is not overwritten: give another name, or "+
		"move it away", errs.Option("out"), out, path)
}

// describe is the sidecar without what is counted.
func (s *source) describe(program string) (*sidecar, error) {
	o := s.opt
	c := &sidecar{Kind: sidecarKind, Program: program, Format: s.format, TextField: o.TextField, NoSpecial: o.NoSpecial,
		SkipBad: o.SkipBad, Vocab: o.Vocab, Width: store.WidthFor(o.Vocab),
		Tokenizer: Identity{SHA256: o.Tokenizer.SHA256, Configured: o.Tokenizer.Configured, BOS: o.Tokenizer.BOS,
			EOS: o.Tokenizer.EOS}}
	c.TrainOnPrompt = o.TrainOnPrompt != nil && *o.TrainOnPrompt
	var err error
	if t := s.encoder.template; t != nil {
		c.Template = t.Name
		if c.TemplateSum, err = template.Sum(t.Name); err != nil {
			return nil, err
		}
	}
	if c.Source, err = filepath.Abs(s.path); err != nil {
		return nil, errs.Dataf("%s %s: %w", errs.Option("data"), s.path, err)
	}
	c.Source = files.Kept(c.Source)
	for _, f := range s.files {
		name, err := filepath.Rel(s.path, f)
		if err != nil {
			return nil, errs.Dataf("%s %s: %w", errs.Option("data"), s.path, err)
		}
		fp, err := files.Sample(f, name)
		if err != nil {
			return nil, err
		}
		c.Files = append(c.Files, fp)
	}
	return c, nil
}

func (c *sidecar) result(out string) *Prepared {
	return &Prepared{Documents: c.Documents, Tokens: c.Tokens, Bytes: c.Bytes, Seconds: c.Seconds, Out: out,
		Skipped: c.Skipped}
}
