package data

import (
	"context"
	"fmt"
	"slices"

	"longlora/internal/data/store"
	"longlora/internal/errs"
	"longlora/internal/files"
)

// IDs are a stream of ids that lies in files; only what is read is in memory.
type IDs struct {
	set   *Set
	parts []part
	n     int
}

// part is tokens [lo, hi) of a source, which begin at token at of the stream.
type part struct {
	st     *store.Store
	lo, hi int64
	at     int
}

// Fingerprints fingerprints every file read: see Set.Fingerprints.
func (t *IDs) Fingerprints() ([]files.Fingerprint, error) { return t.set.Fingerprints() }

// Stream reads everything as one stream of ids, for evaluation; with HoldDocs only what a set leaves out. It must be
// closed.
func Stream(ctx context.Context, o Options) (*IDs, error) {
	s, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.HoldDocs == 0 && slices.Max(s.Weights()) > 0 {
		s.Close()
		return nil, errs.Usagef("%s: a weight is for training; what is evaluated on is read as it is", o.flag())
	}
	first, at := 0, int64(0)
	if o.HoldDocs > 0 {
		first, at = s.cut(o.HoldDocs)
	}
	t := &IDs{set: s}
	for _, src := range s.sources[first:] {
		t.parts = append(t.parts, part{src.st, at, src.st.Tokens, t.n})
		t.n += int(src.st.Tokens - at)
		at = 0
	}
	return t, nil
}

// Name is what the stream was read from, as the user named it.
func (t *IDs) Name() string {
	if h := t.set.opt.HoldDocs; h > 0 {
		return fmt.Sprintf("the last %v %% of %s", 100*h, t.set.opt.name())
	}
	return t.set.opt.name()
}

// Len is the number of tokens.
func (t *IDs) Len() int { return t.n }

// Slice reads tokens [lo, hi).
func (t *IDs) Slice(lo, hi int) []int32 {
	out := make([]int32, 0, hi-lo)
	for _, p := range t.parts {
		end := p.at + int(p.hi-p.lo)
		if from, to := max(lo, p.at), min(hi, end); from < to {
			shift := p.lo - int64(p.at)
			out = p.st.Read(out, int64(from)+shift, int64(to)+shift)
		}
	}
	return out
}

// Close gives back what is mapped.
func (t *IDs) Close() { t.set.Close() }
