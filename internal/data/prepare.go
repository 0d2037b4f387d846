package data

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"longlora/internal/data/datafile"
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
	if done := p.finished(); done != nil {
		s.note("%s was prepared already", out)
		return done, nil
	}
	if err := p.open(); err != nil {
		return nil, err
	}
	defer closeAll(p.f)
	if err := p.encode(ctx); err != nil {
		return nil, err
	}
	return p.finish()
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
	indexed := beginsWith(datafile.IndexPath(out), indexMagic)
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

// beginsWith reports whether a file begins so.
func beginsWith(path, magic string) bool {
	f, err := files.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	b := make([]byte, len(magic))
	_, err = io.ReadFull(f, b)
	return err == nil && string(b) == magic
}

// describe is the sidecar without what is counted.
func (s *source) describe(program string) (*sidecar, error) {
	o := s.opt
	c := &sidecar{Kind: sidecarKind, Program: program, Format: s.format, TextField: o.TextField, NoSpecial: o.NoSpecial,
		SkipBad: o.SkipBad,
		Vocab:   o.Vocab, Width: widthFor(o.Vocab), Tokenizer: Identity{SHA256: o.Tokenizer.SHA256, BOS: o.Tokenizer.BOS,
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

// preparation is a prepared file in the making. Its parts and how far it is lie in a folder beside out.
type preparation struct {
	s         *source
	out, part string
	want      *sidecar
	state     prepareState
	f         [3]*os.File
	w         *storeWriter
	begun     time.Time
	before    float64 // seconds of earlier runs
	fault     error   // of writing
}

// prepareState is how far a preparation is.
type prepareState struct {
	Made   *sidecar `json:"made"` // what it is, without what is counted
	Place  place    `json:"place"`
	Tokens uint64   `json:"tokens"`
	Whole  uint64   `json:"whole"` // tokens of whole documents
	Count  int      `json:"documents"`
	Spans  uint64   `json:"spans"`
	Bytes  int64    `json:"bytes"`
	Read   int64    `json:"read"` // bytes taken from the disk
	Skip   int      `json:"skipped"`
	MaxID  int32    `json:"max_id"`
	Second float64  `json:"seconds"`
}

var partNames = [3]string{"ids", "documents", "spans"}

const prepareStateName = "state.json"

// finished is the result of an earlier call that did the same.
func (p *preparation) finished() *Prepared {
	c, err := readSidecar(p.out)
	if err != nil || c == nil {
		return nil
	}
	if !c.describes(p.want) || changed(p.out, c.Bin) || changed(datafile.IndexPath(p.out), c.Index) {
		return nil
	}
	return c.result(p.out)
}

// changed reports whether a file is not the one that was written.
func changed(path string, was files.Fingerprint) bool {
	is, err := files.Whole(path, was.Name)
	return err != nil || is.Since(was) != files.Unchanged
}

func (c *sidecar) result(out string) *Prepared {
	return &Prepared{Documents: c.Documents, Tokens: c.Tokens, Bytes: c.Bytes, Seconds: c.Seconds, Out: out,
		Skipped: c.Skipped}
}

// open takes up what an earlier call left, if it is of the same data and options, or begins anew.
func (p *preparation) open() (err error) {
	if err := files.MakeDir(p.part); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			closeAll(p.f)
		}
	}()
	for i, n := range partNames {
		if p.f[i], err = os.OpenFile(filepath.Join(p.part, n), os.O_RDWR|os.O_CREATE, 0o666); err != nil {
			return errs.Dataf("%w", err)
		}
	}
	if err := unix.Flock(int(p.f[0].Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errs.Usagef("%s %s: another prepare is writing it; wait for it, or choose another name", errs.Option("out"),
			p.out)
	}
	b, err := os.ReadFile(filepath.Join(p.part, prepareStateName))
	var old prepareState
	if err == nil && json.Unmarshal(b, &old) == nil && old.Made != nil && old.Made.describes(p.want) && p.holds(old) {
		p.state = old
		p.s.note("going on after %d documents, %d tokens, that were prepared before", old.Count, old.Tokens)
	}
	p.state.Made, p.before = p.want, p.state.Second
	p.w = newStoreWriter(p.f, p.want.Width, p.want.examples())
	p.w.tokens, p.w.whole, p.w.count, p.w.spans = p.state.Tokens, p.state.Whole, p.state.Count, p.state.Spans
	for i, n := range p.sizes(p.state) {
		if err := p.f[i].Truncate(n); err != nil {
			return errs.Dataf("%s: %w", p.f[i].Name(), err)
		}
		if _, err := p.f[i].Seek(n, io.SeekStart); err != nil {
			return errs.Dataf("%s: %w", p.f[i].Name(), err)
		}
	}
	return nil
}

// sizes are the lengths of the parts in a state.
func (p *preparation) sizes(st prepareState) [3]int64 {
	record := int64(textRecord)
	if p.want.examples() {
		record = exampleRecord
	}
	return [3]int64{int64(st.Tokens) * int64(p.want.Width), int64(st.Count) * record, int64(st.Spans) * spanRecord}
}

// holds reports whether the parts are at least as long as a state says.
func (p *preparation) holds(st prepareState) bool {
	for i, n := range p.sizes(st) {
		if x, err := p.f[i].Stat(); err != nil || n < 0 || x.Size() < n {
			return false
		}
	}
	return true
}

// saveEvery is how often the state is written.
const saveEvery = 10 * time.Second

// encode goes through what is left of the source.
func (p *preparation) encode(ctx context.Context) error {
	p.begun = time.Now()
	bar := newProgress(p.s, "prepare")
	bar.first = p.state.Read
	for _, f := range p.s.files[:min(p.state.Place.File, len(p.s.files))] {
		if st, err := os.Stat(f); err == nil { // read before
			p.s.read.Add(st.Size())
		}
	}
	saved := time.Now()
	err := p.s.encode(ctx, p.state.Place, func(r *result) error {
		if p.fault = p.w.add(r); p.fault != nil {
			return p.fault
		}
		st := &p.state
		st.Place, st.Skip, st.Bytes, st.Read = r.after, st.Skip+r.skipped, st.Bytes+int64(r.size), p.s.read.Load()
		for _, id := range r.ids {
			st.MaxID = max(st.MaxID, id)
		}
		bar.show(p.w.tokens)
		if time.Since(saved) < saveEvery {
			return nil
		}
		saved = time.Now()
		p.fault = p.save()
		return p.fault
	})
	if errors.Is(err, context.Canceled) {
		if err := p.save(); err != nil {
			return err
		}
		return errs.Interruptedf("interrupted after %d documents; the same command goes on", p.state.Count)
	}
	if err != nil {
		if p.fault == nil { // the data's fault, which mended data will not go on from
			err = errors.Join(err, p.sweep())
		}
		return err
	}
	bar.done(p.w.tokens)
	p.s.noteUnread()
	return p.save()
}

// save makes the parts last and writes how far they are.
func (p *preparation) save() error {
	if err := p.w.flush(); err != nil {
		return err
	}
	for _, f := range p.f {
		if err := f.Sync(); err != nil {
			return p.w.fault(err)
		}
	}
	st := &p.state
	st.Tokens, st.Whole, st.Count, st.Spans = p.w.tokens, p.w.whole, p.w.count, p.w.spans
	st.Second = p.before + time.Since(p.begun).Seconds()
	return files.WriteJSON(filepath.Join(p.part, prepareStateName), st)
}

// finish brings the parts to their names: the sidecars first, so that the ids never stand without them.
func (p *preparation) finish() (*Prepared, error) {
	if p.w.count == 0 {
		return nil, errs.Dataf("%s %s: no document is left; %d were malformed", errs.Option("data"), p.s.path, p.state.Skip)
	}
	if p.w.tokens > math.MaxInt64/8 {
		return nil, errs.Dataf("%s: too many tokens", p.out)
	}
	c := *p.want
	c.Documents, c.Tokens, c.MaxID, c.Skipped = p.w.count, int64(p.w.tokens), p.state.MaxID, p.state.Skip
	c.Bytes, c.Seconds = p.state.Bytes, p.before+time.Since(p.begun).Seconds()
	err := files.WriteAtomic(datafile.IndexPath(p.out), func(w io.Writer) error {
		if _, err := w.Write(indexHead(p.w.count, p.w.spans, c.examples())); err != nil {
			return err
		}
		for _, f := range p.f[1:] {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
			if _, err := io.Copy(w, f); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ids := filepath.Join(p.part, partNames[0])
	if c.Bin, err = files.Whole(ids, filepath.Base(p.out)); err != nil {
		return nil, err
	}
	if c.Index, err = files.Whole(datafile.IndexPath(p.out), filepath.Base(datafile.IndexPath(p.out))); err != nil {
		return nil, err
	}
	if err := files.WriteJSON(datafile.SidecarPath(p.out), &c); err != nil {
		return nil, err
	}
	if err := os.Rename(ids, p.out); err != nil {
		return nil, errs.Dataf("%w", err)
	}
	if err := files.SyncDir(filepath.Dir(p.out)); err != nil {
		return nil, err
	}
	if err := p.sweep(); err != nil {
		return nil, err
	}
	return c.result(p.out), nil
}

// sweep removes the parts and their folder.
func (p *preparation) sweep() error {
	for _, n := range append(partNames[:], prepareStateName) {
		if err := os.Remove(filepath.Join(p.part, n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return files.Fault(p.part, err)
		}
	}
	if err := os.Remove(p.part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return files.Fault(p.part, err)
	}
	return nil
}
