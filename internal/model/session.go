package model

import (
	"fmt"
	"math"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Session is a sequence that grows: its keys and values are kept, so that each appended token costs one pass
// over the weights and one over the cache. Attention is full, and within its window in a layer that has one.
type Session struct {
	r      *Runner
	p      *pass
	len    int
	logits ops.Tensor // (1,V) act
	best   ops.Tensor // (1) int32
	ma, mh int64
	looked bool // whether all logits were looked at once
}

// NewSession takes memory for a sequence of at most limit tokens, appended in tiles of at most the runner's.
func (r *Runner) NewSession(limit int) *Session {
	s := &Session{r: r, ma: r.Act.Mark(), mh: r.Host.Mark()}
	g := &geometry{n: limit, t: min(r.Tile, limit), docs: []int32{0, int32(limit)}, grows: true}
	s.p = r.newPass(&Batch{IDs: make([]int32, limit)}, g.attend(r.M.Desc, s2attn.Spec{Mode: s2attn.Full}), false)
	s.logits, s.best = r.Act.New(r.B.Act(), 1, r.M.V), r.Act.New(tensor.I32, 1)
	return s
}

// Close gives the session's memory back. Sessions of one runner close in the reverse order of opening.
func (s *Session) Close() {
	s.r.Act.Release(s.ma)
	s.r.Host.Release(s.mh)
}

// Append runs the tokens through the model.
func (s *Session) Append(ids ...int32) error {
	if s.len+len(ids) > s.p.g.n {
		return fmt.Errorf("session of %d tokens: %d more than it has room for", s.p.g.n, s.len+len(ids)-s.p.g.n)
	}
	copy(s.p.batch.IDs[s.len:], ids)
	for end := s.len + len(ids); s.len < end; {
		t1 := min(s.len+s.p.g.t, end)
		s.p.enter(at{i: appended, t0: s.len, t1: t1})
		s.r.run(s.p, rowCells(appended, s.r.M.L, t1 < end))
		s.len = t1
		if t1 == end {
			s.head(s.p.stream(s.r.M.L))
		}
	}
	return s.r.B.Sync()
}

// head computes the logits after the last token of the tile in x.
func (s *Session) head(x ops.Tensor) {
	r, n := s.r, s.p.n()
	nf := s.p.norm.Rows(0, 1)
	r.last(nf, s.p.scratch.lse.Rows(0, r.M.stats(FinalNorm)), x.Rows(n-1, n))
	r.B.LinearForward(nf, ops.Tensor{}, []ops.Proj{{L: &ops.Linear{W: r.M.Head}, Y: s.logits}})
}

// Best is the most probable next token. Logits that are no numbers are an error of kind Numeric.
func (s *Session) Best() (int32, error) {
	var id [1]int32
	s.r.B.ArgMax(s.best, s.logits)
	if err := s.r.B.Download(bytesOf(id[:]), s.best); err != nil {
		return 0, err
	}
	return id[0], s.finite(int(id[0]))
}

// NotFinite is what is said of logits that are no numbers.
const NotFinite = "the model's logits hold NaN or infinity; its weights do, or the computation overflowed"

// finite looks at the logits: once at all, for a row of the head may hold what is no number, and then at the best one,
// for what comes from before the head reaches every logit.
func (s *Session) finite(best int) error {
	var seen []float32
	var err error
	switch {
	case best < 0 || best >= s.r.M.V:
		return errs.Numericf(NotFinite)
	case !s.looked:
		seen, err = s.Logits()
		s.looked = true
	default:
		seen, err = s.download(s.logits.Reshape(s.r.M.V, 1).Rows(best, best+1))
	}
	for _, z := range seen {
		if d := float64(z); math.IsNaN(d) || math.IsInf(d, 0) {
			return errs.Numericf(NotFinite)
		}
	}
	return err
}

// download is a part of the logits as float32.
func (s *Session) download(f ops.Tensor) ([]float32, error) {
	out := make([]float32, f.Elems())
	if f.DType != tensor.F32 {
		wide := s.p.logits.Rows(0, 1).Reshape(s.r.M.V, 1).Rows(0, len(out))
		s.r.B.Convert(wide, f)
		f = wide
	}
	return out, s.r.B.Download(bytesOf(out), f)
}

// Logits are the scores of every next token. (V) float32
func (s *Session) Logits() ([]float32, error) {
	out, err := s.download(s.logits.Reshape(s.r.M.V, 1))
	for i, z := range out {
		if c := s.r.M.LogitsCap; c > 0 {
			out[i] = c * float32(math.Tanh(float64(z/c)))
		}
	}
	return out, err
}
