package data

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Order gives rows to samples: a function of the seed alone, so that it needs no state.
type Order struct {
	set     *Set
	seed    uint64
	shuffle bool
	epoch   int
	rows    []uint32
}

// NewOrder makes an order over the set's rows.
func NewOrder(s *Set, seed uint64, shuffle bool) *Order {
	return &Order{set: s, seed: seed, shuffle: shuffle, epoch: -1}
}

// Rows is the number of rows of an epoch: every row, or ⌈w·rows⌉ of a source with a weight.
func (o *Order) Rows() int {
	n := 0
	for i, src := range o.set.sources {
		lo, hi := o.set.of(i)
		k := hi - lo
		if src.weight > 0 {
			k = int(CeilOf(src.weight, int64(k), math.MaxInt32))
		}
		n += k
	}
	return n
}

// Bytes is the memory that the order takes once it is asked for a row: a table of an epoch's rows unless they are in
// the files' order, and while it is made one of a weighted source's. Tokens and boundaries are mapped.
func (o *Order) Bytes() int64 {
	if o.plain() {
		return 0
	}
	n, most := 4*int64(o.Rows()), 0
	for i, src := range o.set.sources {
		if lo, hi := o.set.of(i); src.weight > 0 {
			most = max(most, hi-lo)
		}
	}
	return n + 8*int64(most)
}

// plain reports whether the order is the files' own.
func (o *Order) plain() bool {
	for _, src := range o.set.sources {
		if src.weight > 0 {
			return false
		}
	}
	return !o.shuffle
}

// Row is the row of sample i: order_e[i mod rows] of epoch e = ⌊i/rows⌋.
func (o *Order) Row(i int64) int {
	n := int64(o.Rows())
	if o.plain() {
		return int(i % n)
	}
	if e := int(i / n); e != o.epoch || o.rows == nil {
		o.epoch, o.rows = e, o.list(e)
	}
	return int(o.rows[i%n])
}

// list is one epoch's order, four bytes a row. The draws come from PCG seeded by (seed, epoch): of each weighted
// source first, in the order of the sources, then the shuffle.
func (o *Order) list(epoch int) []uint32 {
	r := rand.New(rand.NewPCG(o.seed, uint64(epoch)))
	out := make([]uint32, 0, o.Rows())
	for i, src := range o.set.sources {
		lo, hi := o.set.of(i)
		if src.weight == 0 {
			for k := lo; k < hi; k++ {
				out = append(out, uint32(k))
			}
			continue
		}
		want := int(CeilOf(src.weight, int64(hi-lo), math.MaxInt32))
		for want > 0 && hi > lo {
			perm := r.Perm(hi - lo)
			perm = perm[:min(want, len(perm))]
			want -= len(perm)
			sort.Ints(perm)
			for _, k := range perm {
				out = append(out, uint32(lo+k))
			}
		}
	}
	if o.shuffle {
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	return out
}
