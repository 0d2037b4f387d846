package dist

import (
	"fmt"
	"unsafe"

	"longlora/internal/errs"
	"longlora/internal/ops"
)

// Near are the ranks of this rank's machine, this one among them, in their order.
func (g *Group) Near() []int {
	if g == nil {
		return []int{0}
	}
	return g.near
}

// Each says of what a process takes that others of its machine take as much; "" where there are none.
func (g *Group) Each() string {
	if n := len(g.Near()); n > 1 {
		return fmt.Sprintf(" in each of %d processes", n)
	}
	return ""
}

// all are the numbers of so many ranks.
func all(size int) (ranks []int) {
	for r := range size {
		ranks = append(ranks, r)
	}
	return ranks
}

// Regions are memory that the ranks of a machine read of each other.
type Regions struct {
	At []unsafe.Pointer // by the number in Near

	g     *Group
	be    ops.Backend
	bytes int64
	own   int
}

// Regions waits until every rank has come here, each with a region of ops.Shared that it does not write any more, and
// maps those of the ranks of this machine.
func (g *Group) Regions(be ops.Backend, own *ops.Arena) (*Regions, error) {
	sharer, ok := be.(ops.Sharer)
	if !ok {
		panic("dist: a backend whose memory nobody else reads")
	}
	handle, err := sharer.Export(own.Base(), own.Size())
	if err != nil {
		return nil, err
	}
	handles, err := g.Gather(handle)
	if err != nil {
		return nil, err
	}
	r := &Regions{g: g, be: be, bytes: own.Size(), At: make([]unsafe.Pointer, len(g.Near()))}
	for i, rank := range g.Near() {
		if rank == g.Rank() {
			r.At[i], r.own = own.Base(), i
			continue
		}
		if r.At[i], err = sharer.Import(handles[rank]); err != nil {
			return nil, errs.Usagef("rank %d can not read rank %d's memory: %w; give %s off", g.Rank(), rank, err,
				errs.Option("shard-weights"))
		}
	}
	return r, nil
}

// Leave waits until no rank reads another's memory any more.
func (r *Regions) Leave() error {
	if r == nil {
		return nil
	}
	if err := r.be.Sync(); err != nil {
		return err
	}
	return r.g.Barrier()
}

// Close gives up the mappings, whatever the other ranks do.
func (r *Regions) Close() {
	if r == nil {
		return
	}
	_ = r.be.Sync() // what is being read is of no use any more
	for i, p := range r.At {
		if i != r.own {
			_ = r.be.(ops.Sharer).Unmap(p, r.bytes) // the process ends
		}
	}
}
