package train

import (
	"fmt"
	"io"

	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// source is a file that a run is made from. One in use is read as long as the run trains, so a step that follows a
// change of it is of neither version; the others were read when the run began, and only going on from a checkpoint
// wants them.
type source struct {
	*files.Watch
	inUse bool
	told  bool
}

// watch begins to watch the files that a record describes.
func (s *setup) watch(rec *Record) ([]*source, error) {
	var out []*source
	add := func(path string, print files.Fingerprint, inUse bool) error {
		w, err := files.NewWatch(path, print)
		out = append(out, &source{Watch: w, inUse: inUse})
		return err
	}
	if s.base.Weights != nil {
		for i, f := range s.base.Weights.Files {
			if err := add(f, rec.Model.Files[i], true); err != nil {
				return nil, err
			}
		}
	}
	if a := s.base.Adapter; a != nil {
		for i, f := range a.Files {
			if err := add(f, rec.Adapter[i+1], false); err != nil { // the first is its configuration's
				return nil, err
			}
		}
	}
	for _, d := range []struct {
		set    *data.Set
		prints []files.Fingerprint
	}{{s.set, rec.Data}, {s.evalSet, rec.EvalData}} {
		if d.set == nil {
			continue
		}
		for i, f := range d.set.Inputs() {
			if err := add(f.Path, d.prints[i], f.Mapped); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// unchanged refuses to save steps that were computed from a file that changed meanwhile.
func (r *run) unchanged() error {
	for _, s := range r.sources {
		if err := s.check(r.log); err != nil {
			kept := "no step is saved yet"
			if r.savedAt >= 0 {
				kept = fmt.Sprintf("step %d, saved before it, is kept", r.savedAt)
			}
			return errs.Dataf("%w, and the steps since may come of both; %s. Put the file back as it was, and the same command "+
				"goes on", err, kept)
		}
	}
	return nil
}

// check looks at one file.
func (s *source) check(log io.Writer) error {
	if s.told {
		return nil
	}
	c, err := s.Look()
	switch {
	case err != nil && s.inUse:
		return err
	case c == files.Unchanged:
	case c == files.Touched:
		fmt.Fprintf(log, "note: %s was written or copied again while it was trained from; its size and samples of it are "+
			"the same\n", s.Path)
	case s.inUse:
		return errs.Dataf("%s: was changed or replaced while it was trained from", s.Path)
	default:
		s.told = true
		fmt.Fprintf(log, "warning: %s was changed since the run began; this run goes on with what it read then, but one "+
			"that is interrupted does not go on with other files\n", s.Path)
	}
	return nil
}
