package data

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"sort"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
)

// Row is one row of tokens. Docs are the starts of its documents, the first 0.
type Row struct {
	IDs  []int32
	Docs []int32
}

// span is a row's place in its source.
type span struct{ source, lo, hi int }

// Set is all rows of all sources, in file order.
type Set struct {
	opt     Options
	sources []*source
	rows    []span
	held    int // rows at the end that are held out
}

// Open reads everything and packs it.
func Open(o Options) (*Set, error) {
	s := &Set{opt: o}
	for _, p := range o.Paths {
		src, err := openSource(p)
		if err != nil {
			return nil, err
		}
		if err := src.read(o); err != nil {
			return nil, err
		}
		s.sources = append(s.sources, src)
	}
	s.keepBelow(o.HoldDocs)
	return s, s.pack()
}

// manyDocs is from how many documents on whole ones are held out; fewer are too coarse, and tokens are.
const manyDocs = 20

// cut is where the last share of the documents, or of the tokens, begins: a source and a token of it.
func (s *Set) cut(share float64) (source, at int) {
	docs, tokens, stream := 0, 0, false
	for _, src := range s.sources {
		docs, tokens, stream = docs+len(src.docs)-1, tokens+len(src.ids), stream || src.tokens
	}
	byDoc := docs >= manyDocs && !stream
	left := int(CeilOf(share, int64(tokens), int64(tokens)))
	if byDoc {
		left = int(CeilOf(share, int64(docs), int64(docs)))
	}
	for i := len(s.sources) - 1; i >= 0; i-- {
		src := s.sources[i]
		have := len(src.ids)
		if byDoc {
			have = len(src.docs) - 1
		}
		if left <= have {
			if byDoc {
				return i, src.docs[have-left]
			}
			return i, have - left
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
		src, end := s.sources[k], 0
		if k == i {
			end = at
		}
		src.ids = src.ids[:end]
		n := sort.SearchInts(src.docs, end)
		src.docs = append(src.docs[:n:n], end)
	}
}

// pack divides the sources into rows.
func (s *Set) pack() error {
	longest := 0
	for i, src := range s.sources {
		pack := s.opt.Pack
		if pack == "auto" || pack == "" {
			pack = "concat"
		}
		if src.tokens && pack != "concat" {
			return errs.Usagef("--pack %s: %s is one stream of token ids without documents; only concat packs it", pack, src.path)
		}
		longest = max(longest, len(src.ids))
		switch pack {
		case "concat":
			for lo := 0; lo+s.opt.Ctx <= len(src.ids); lo += s.opt.Ctx {
				s.rows = append(s.rows, span{i, lo, lo + s.opt.Ctx})
			}
		case "cut":
			for lo := 0; lo < len(src.ids); lo += s.opt.Ctx {
				s.rows = append(s.rows, span{i, lo, min(lo+s.opt.Ctx, len(src.ids))})
			}
		case "pad":
			for d := 0; d+1 < len(src.docs); d++ {
				lo, hi := src.docs[d], src.docs[d+1]
				for ; lo < hi; lo += s.opt.Ctx {
					s.rows = append(s.rows, span{i, lo, min(lo+s.opt.Ctx, hi)})
				}
			}
		}
	}
	if len(s.rows) == 0 {
		return errs.Dataf("--data: no whole row of --ctx %d tokens: the longest source has %d tokens; give more text or a smaller --ctx", s.opt.Ctx, longest)
	}
	return nil
}

// Cut reports whether rows hold several documents that do not see each other.
func (s *Set) Cut() bool { return s.opt.Pack == "cut" }

// Rows is the number of rows to train on.
func (s *Set) Rows() int { return len(s.rows) - s.held }

// Held is the number of rows held out.
func (s *Set) Held() int { return s.held }

// HoldOut keeps the last ⌈f·rows⌉ rows for validation.
func (s *Set) HoldOut(f float64) error {
	s.held = int(CeilOf(f, int64(len(s.rows)), int64(len(s.rows))))
	if s.held >= len(s.rows) {
		return errs.Dataf("--eval-fraction %v of %d rows leaves none to train on", f, len(s.rows))
	}
	return nil
}

// Row is row i in file order; held-out rows follow those to train on.
func (s *Set) Row(i int) Row {
	sp := s.rows[i]
	src := s.sources[sp.source]
	r := Row{IDs: make([]int32, sp.hi-sp.lo), Docs: []int32{0}}
	for k, id := range src.ids[sp.lo:sp.hi] {
		r.IDs[k] = int32(id)
	}
	if s.Cut() {
		for d := sort.SearchInts(src.docs, sp.lo+1); d < len(src.docs) && src.docs[d] < sp.hi; d++ {
			if o := int32(src.docs[d] - sp.lo); o != r.Docs[len(r.Docs)-1] {
				r.Docs = append(r.Docs, o)
			}
		}
	}
	return r
}

// Stats describe what was read.
type Stats struct {
	Documents, Tokens, Long int64 // Long: tokens in documents longer than the length asked for
	Skipped                 int
}

// Stats counts documents and tokens, and the tokens in documents longer than n.
func (s *Set) Stats(n int) Stats {
	var st Stats
	for _, src := range s.sources {
		st.Tokens += int64(len(src.ids))
		st.Skipped += src.skipped
		for d := 0; d+1 < len(src.docs); d++ {
			st.Documents++
			if l := src.docs[d+1] - src.docs[d]; l > n {
				st.Long += int64(l)
			}
		}
	}
	return st
}

// Bytes is the memory that the ids and the tables take.
func (s *Set) Bytes() int64 {
	n := int64(len(s.rows)) * 24
	for _, src := range s.sources {
		n += int64(cap(src.ids))*4 + int64(cap(src.docs))*8
	}
	return n
}

// Prints fingerprints every file read.
func (s *Set) Prints() ([]ckpt.FilePrint, error) {
	var out []ckpt.FilePrint
	for _, src := range s.sources {
		for _, f := range src.files {
			name, err := filepath.Rel(src.path, f)
			if err != nil || name == "." {
				name = filepath.Base(f)
			}
			p, err := ckpt.PrintFile(f, name)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
		}
	}
	return out, nil
}

// Order gives rows to samples: a function of the seed alone, so that it needs no state.
type Order struct {
	set     *Set
	seed    uint64
	shuffle bool
	epoch   int
	rows    []int
}

// NewOrder makes an order over the set's rows.
func NewOrder(s *Set, seed uint64, shuffle bool) *Order {
	return &Order{set: s, seed: seed, shuffle: shuffle, epoch: -1}
}

// Rows is the number of rows of an epoch: every row, or ⌈w·rows⌉ of a source with a weight.
func (o *Order) Rows() int {
	n := 0
	for i, src := range o.set.sources {
		k := len(o.set.of(i))
		if src.weight > 0 {
			k = int(CeilOf(src.weight, int64(k), math.MaxInt32))
		}
		n += k
	}
	return n
}

// of lists the rows of a source that are trained on.
func (s *Set) of(source int) []int {
	var out []int
	for i := range s.Rows() {
		if s.rows[i].source == source {
			out = append(out, i)
		}
	}
	return out
}

// Row is the row of sample i: order_e[i mod rows] of epoch e = ⌊i/rows⌋.
func (o *Order) Row(i int64) int {
	n := int64(o.Rows())
	if e := int(i / n); e != o.epoch || o.rows == nil {
		o.epoch, o.rows = e, o.list(e)
	}
	return o.rows[i%n]
}

// list is one epoch's order. The draws come from PCG seeded by (seed, epoch): of each weighted source first, in
// the order of the sources, then the shuffle.
func (o *Order) list(epoch int) []int {
	r := rand.New(rand.NewPCG(o.seed, uint64(epoch)))
	var out []int
	for i, src := range o.set.sources {
		rows := o.set.of(i)
		if src.weight == 0 {
			out = append(out, rows...)
			continue
		}
		want := int(CeilOf(src.weight, int64(len(rows)), math.MaxInt32))
		for want > 0 && len(rows) > 0 {
			perm := r.Perm(len(rows))
			perm = perm[:min(want, len(perm))]
			want -= len(perm)
			sort.Ints(perm)
			for _, k := range perm {
				out = append(out, rows[k])
			}
		}
	}
	if o.shuffle {
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}

// Stream reads everything as one stream of ids, for evaluation; with HoldDocs only what a set leaves out.
func Stream(o Options) ([]int32, error) {
	s := &Set{opt: o}
	for _, p := range o.Paths {
		src, err := openSource(p)
		if err != nil {
			return nil, err
		}
		if err := src.read(o); err != nil {
			return nil, err
		}
		s.sources = append(s.sources, src)
	}
	first, at := 0, 0
	if o.HoldDocs > 0 {
		first, at = s.cut(o.HoldDocs)
	}
	var out []int32
	for _, src := range s.sources[first:] {
		for _, id := range src.ids[at:] {
			out = append(out, int32(id))
		}
		at = 0
	}
	return out, nil
}
