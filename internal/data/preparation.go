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
	"time"

	"longlora/internal/data/datafile"
	"longlora/internal/data/store"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// preparation is a prepared file in the making. Its parts and how far it is lie in a folder beside out.
type preparation struct {
	s         *source
	out, part string
	want      *sidecar
	state     prepareState
	lock      *files.Locked // of part: whoever waited for it finds the folder that stands there then
	f         [3]*os.File
	w         *store.Writer
	begun     time.Time
	before    float64 // seconds of earlier runs
	fault     error   // of writing
}

// prepareState is how far a preparation is.
type prepareState struct {
	Made  *sidecar `json:"made"` // what it is, without what is counted
	Place place    `json:"place"`
	store.Counts
	Bytes  int64   `json:"bytes"`
	Read   int64   `json:"read"` // bytes taken from the disk
	Skip   int     `json:"skipped"`
	MaxID  int32   `json:"max_id"`
	Second float64 `json:"seconds"`
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
	p.s.note("%s was prepared already", p.out)
	return c.result(p.out)
}

// make encodes what is not there yet.
func (p *preparation) make(ctx context.Context) (*Prepared, error) {
	if files.Exists(p.out) {
		p.s.note("%s is of other data, of other options or by another version; it is replaced once this is done", p.out)
	}
	if err := p.open(); err != nil {
		return nil, err
	}
	if err := p.encode(ctx); err != nil {
		return nil, err
	}
	return p.finish()
}

// changed reports whether a file is not the one that was written.
func changed(path string, was files.Fingerprint) bool {
	is, err := files.Whole(path, was.Name)
	return err != nil || is.Since(was) != files.Unchanged
}

// enter keeps others out of the folder of the parts. Not of the parts themselves: ids is the finished file in the end,
// and who waited for its lock would write into that.
func (p *preparation) enter() (err error) {
	p.lock, err = files.Lock(p.part, "")
	if errs.Code(err) == int(errs.Usage) {
		return errs.Usagef("%s %s: another prepare is writing it; wait for it, or choose another name", errs.Option("out"),
			p.out)
	}
	if err != nil {
		return errs.Dataf("%s %s: %w", errs.Option("out"), p.out, err)
	}
	return nil
}

// close lets others in.
func (p *preparation) close() {
	store.CloseParts(p.f)
	p.lock.Release()
}

// open takes up what an earlier call left, if it is of the same data and options, or begins anew.
func (p *preparation) open() (err error) {
	for i, n := range partNames {
		path := filepath.Join(p.part, n)
		if p.f[i], err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
			return files.Fault(path, err)
		}
	}
	b, err := os.ReadFile(filepath.Join(p.part, prepareStateName))
	var old prepareState
	if err == nil && json.Unmarshal(b, &old) == nil && old.Made != nil && old.Made.describes(p.want) && p.holds(old) {
		p.state = old
		p.s.note("going on after %d documents, %d tokens, that were prepared before", old.Count, old.Tokens)
	}
	p.state.Made, p.before = p.want, p.state.Second
	p.w = store.NewWriter(p.f, p.want.Width, p.want.examples())
	p.w.Room = "make room and run the same command again, which goes on from here"
	p.w.Counts = p.state.Counts
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
	return st.Sizes(p.want.Width, p.want.examples())
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
		if p.fault = p.w.Add(r.ids, r.docs); p.fault != nil {
			return p.fault
		}
		st := &p.state
		st.Place, st.Skip, st.Bytes, st.Read = r.after, st.Skip+r.skipped, st.Bytes+int64(r.size), p.s.read.Load()
		for _, id := range r.ids {
			st.MaxID = max(st.MaxID, id)
		}
		bar.show(p.w.Tokens)
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
	bar.done(p.w.Tokens)
	p.s.noteUnread()
	return p.save()
}

// save makes the parts last and writes how far they are.
func (p *preparation) save() error {
	if err := p.w.Sync(); err != nil {
		return err
	}
	st := &p.state
	st.Counts = p.w.Counts
	st.Second = p.before + time.Since(p.begun).Seconds()
	return files.WriteJSON(filepath.Join(p.part, prepareStateName), st)
}

// finish brings the parts to their names: the sidecars first, so that the ids never stand without them.
func (p *preparation) finish() (*Prepared, error) {
	if p.w.Count == 0 {
		return nil, errs.Dataf("%s %s: no document is left; %d were malformed", errs.Option("data"), p.s.path, p.state.Skip)
	}
	if p.w.Tokens > math.MaxInt64/8 {
		return nil, errs.Dataf("%s: too many tokens", p.out)
	}
	c := *p.want
	c.Documents, c.Tokens, c.MaxID, c.Skipped = p.w.Count, int64(p.w.Tokens), p.state.MaxID, p.state.Skip
	c.Bytes, c.Seconds = p.state.Bytes, p.before+time.Since(p.begun).Seconds()
	if err := files.WriteAtomic(datafile.IndexPath(p.out), p.w.WriteIndex); err != nil {
		return nil, err
	}
	var err error
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
		return nil, files.Fault(p.out, err)
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
