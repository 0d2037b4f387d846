package dist

import (
	"fmt"
	"sync"
	"time"

	"longlora/internal/ops"
)

// Divide has the ranks of the group divide rows: each size of them that follow each other are a chain, of which each
// rank has a span of every row that is the chain's. It is for the time before the group's work.
func (g *Group) Divide(size int) error {
	if size < 1 || g.Size()%size != 0 {
		return fmt.Errorf("chains of %d ranks in a group of %d", size, g.Size())
	}
	if g != nil {
		g.chain = size
	}
	return nil
}

// Divided is how many ranks divide a row, 1 where each rank has whole ones.
func (g *Group) Divided() int {
	if g == nil {
		return 1
	}
	return max(1, g.chain)
}

// Chains is how many chains there are: ranks, where each has whole rows.
func (g *Group) Chains() int { return g.Size() / g.Divided() }

// InChain is this rank's number in its chain, and how many ranks that has.
func (g *Group) InChain() (rank, size int) { return g.Rank() % g.Divided(), g.Divided() }

// Chain joins this rank to its neighbours in its chain, in a backend's memory; nil where it has none. Where cards are
// joined directly it goes through them, else through the host's memory. It is a backend's Link, and its operations are
// for one goroutine at a time.
type Chain struct {
	link ops.Link
	g    *Group
}

// NewChain makes it; the ranks must be connected. Close ends it.
func (g *Group) NewChain(be ops.Backend) *Chain {
	if g.Divided() == 1 {
		return nil
	}
	if d, ok := g.device.(ops.Link); ok {
		return &Chain{link: d, g: g}
	}
	return &Chain{link: newHostLink(g, be), g: g}
}

// Close ends what carries; nothing is under way any more.
func (c *Chain) Close() {
	if c == nil {
		return
	}
	if h, ok := c.link.(*hostLink); ok {
		h.close()
	}
}

// Begin has a chain begin its next row together, or none of its ranks: what the first one says is done, so that a rank
// which was asked to stop a moment before the others leaves nobody waiting.
func (c *Chain) Begin(on bool) (bool, error) {
	if c == nil {
		return on, nil
	}
	rank, size := c.g.InChain()
	b := []byte{0}
	if on {
		b[0] = 1
	}
	if rank > 0 {
		if err := c.g.Recv(c.g.rank-1, b); err != nil {
			return false, err
		}
	}
	if rank+1 < size {
		if err := c.g.Send(c.g.rank+1, b); err != nil {
			return false, err
		}
	}
	return b[0] == 1, nil
}

// Place implements ops.Link.
func (c *Chain) Place() (rank, size int) { return c.g.InChain() }

// Give implements ops.Link.
func (c *Chain) Give(to ops.Side, t ops.Tensor) ops.Passage {
	c.g.traffic.Halos.Sent += float64(t.Bytes())
	return c.link.Give(to, t)
}

// Take implements ops.Link.
func (c *Chain) Take(from ops.Side, t ops.Tensor) ops.Passage {
	c.g.traffic.Halos.Received += float64(t.Bytes())
	return c.link.Take(from, t)
}

// Wait implements ops.Link.
func (c *Chain) Wait(p ops.Passage) {
	begun := time.Now()
	c.link.Wait(p)
	c.g.traffic.Halos.exchanged(0, 0, begun)
}

// hostLink is a Link through the host's memory and the group's connections: for backends whose memory that is, and
// cards that are not joined directly. Each way to each side is done by a goroutine of its own.
type hostLink struct {
	g    *Group
	be   ops.Backend
	card bool
	ways [ops.Sides][2]*way // [side][0: given, 1: taken]
}

// way does what is asked of it, one after the other.
type way struct {
	todo chan func()
	mu   sync.Mutex
	news *sync.Cond
	n    int64 // asked for
	done int64
	land map[int64]landing // what was taken for a card, and is not there yet
}

// landing is host memory whose contents are a tensor's.
type landing struct {
	to ops.Tensor
	b  []byte
}

// mostAhead is how much can be asked of a way before whoever asks waits: a layer is a few.
const mostAhead = 64

func newHostLink(g *Group, be ops.Backend) *hostLink {
	h := &hostLink{g: g, be: be}
	_, h.card = be.(ops.Card)
	for s := range h.ways {
		for k := range h.ways[s] {
			w := &way{todo: make(chan func(), mostAhead), land: map[int64]landing{}}
			w.news = sync.NewCond(&w.mu)
			h.ways[s][k] = w
			go func() {
				for f := range w.todo {
					f()
					w.mu.Lock()
					w.done++
					w.news.Broadcast()
					w.mu.Unlock()
				}
			}()
		}
	}
	return h
}

func (h *hostLink) close() {
	for s := range h.ways {
		for _, w := range h.ways[s] {
			close(w.todo)
		}
	}
}

// Place implements ops.Link.
func (h *hostLink) Place() (rank, size int) { return h.g.InChain() }

// beside is the rank of a neighbour.
func (h *hostLink) beside(s ops.Side) int {
	if s == ops.Before {
		return h.g.rank - 1
	}
	return h.g.rank + 1
}

// Give implements ops.Link.
func (h *hostLink) Give(to ops.Side, t ops.Tensor) ops.Passage {
	var b []byte
	if !h.card {
		b = t.Raw()
	} else {
		b = make([]byte, t.Bytes())
		if err := h.be.Download(b, t); err != nil {
			_ = h.g.Break(err)
		}
	}
	w := h.ways[to][0]
	w.n++
	w.todo <- func() { _ = h.g.Send(h.beside(to), b) } // a fault is the group's
	return ops.Passage{N: w.n, Side: to}
}

// Take implements ops.Link.
func (h *hostLink) Take(from ops.Side, t ops.Tensor) ops.Passage {
	var b []byte
	w := h.ways[from][1]
	w.n++
	if !h.card {
		b = t.Raw()
	} else {
		b = make([]byte, t.Bytes())
		w.land[w.n] = landing{t, b}
	}
	w.todo <- func() { _ = h.g.Recv(h.beside(from), b) }
	return ops.Passage{N: w.n, Side: from, Taken: true}
}

// Wait implements ops.Link.
func (h *hostLink) Wait(p ops.Passage) {
	if p.N == 0 {
		return
	}
	w := h.ways[p.Side][0]
	if p.Taken {
		w = h.ways[p.Side][1]
	}
	w.mu.Lock()
	for w.done < p.N {
		w.news.Wait()
	}
	w.mu.Unlock()
	for n := p.N; len(w.land) > 0; n-- {
		l, ok := w.land[n]
		if !ok {
			break
		}
		h.be.Upload(l.to, l.b)
		delete(w.land, n)
	}
}
