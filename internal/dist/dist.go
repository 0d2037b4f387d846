// Package dist is a group of processes that train together.
//
// # Words
//
// A rank is one process of the group and its number, from 0; rank 0 is the one that writes. Size is how many there are.
// The ranks of a group are joined by two nets of connections: every rank has one to rank 0, over which they tell each
// other that they are alive, are to stop, or have failed (Job, control.go); and every two ranks have one for data
// (Group). How they find each other is a rendezvous (join.go), which begins with a Place: what this process's
// environment says of the group (place.go).
//
// # Order
//
// All ranks call the operations of a group in the same order. Sums are added up in the order of the ranks, so that the
// same ranks give the same bits, whatever joins them. An operation waits for the other ranks, however long one takes;
// it ends early, with the group's fault, only when a rank is gone or has failed.
package dist

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
	"unsafe"
)

// Group is a rank's side of a group. A nil Group is that of a process which is alone. Operations are for one goroutine
// at a time.
type Group struct {
	rank, size int
	conns      []net.Conn // by rank; nil for the own one
	temps      [][]byte   // by rank: what came of a piece that is being summed up
	traffic    Traffic
	chain      int   // ranks that divide a row; 0 is one
	near       []int // see Near

	mu      sync.Mutex
	fault   error
	explain func(rank int, err error) error // says why a rank's connection broke, once that is known; may be nil
	device  Device
}

// Rank is the number of this process.
func (g *Group) Rank() int {
	if g == nil {
		return 0
	}
	return g.rank
}

// Size is the number of processes.
func (g *Group) Size() int {
	if g == nil {
		return 1
	}
	return g.size
}

// Block is the part of n things in a row that is this rank's chain's: the things from lo up to hi. The chains' parts
// follow each other and differ by at most one. Without chains each rank is one.
func (g *Group) Block(n int) (lo, hi int) {
	r, p := g.Rank()/g.Divided(), g.Chains()
	return r * n / p, (r + 1) * n / p
}

// What messages between two ranks carry before their bytes: what they are part of, so that ranks that do different
// things are found out, and how long they are.
const headBytes = 12

// Kinds of operation.
const (
	opGather uint32 = 0x4c4c5230 + iota
	opSum
	opResult
	opPass
	opBroadcast
)

// maxGather is the most that one rank gives to Gather, in bytes.
const maxGather = 64 << 20

func (g *Group) write(to int, op uint32, b []byte) error {
	head := binary.LittleEndian.AppendUint32(make([]byte, 0, headBytes), op)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(b)))
	if _, err := g.conns[to].Write(head); err != nil || len(b) == 0 {
		return err
	}
	_, err := g.conns[to].Write(b)
	return err
}

// head reads what stands before a message and returns its length.
func (g *Group) head(from int, op uint32) (int64, error) {
	var head [headBytes]byte
	if _, err := io.ReadFull(g.conns[from], head[:]); err != nil {
		return 0, err
	}
	if got := binary.LittleEndian.Uint32(head[:]); got != op {
		return 0, fmt.Errorf("rank %d is at operation %#x, rank %d at %#x", from, got, g.rank, op)
	}
	n := binary.LittleEndian.Uint64(head[4:])
	if n > 1<<40 {
		return 0, fmt.Errorf("rank %d sends a message of %d bytes", from, n)
	}
	return int64(n), nil
}

// read fills b with a message of just its length.
func (g *Group) read(from int, op uint32, b []byte) error {
	n, err := g.head(from, op)
	if err != nil {
		return err
	}
	if n != int64(len(b)) {
		return fmt.Errorf("rank %d sends %d bytes where rank %d awaits %d", from, n, g.rank, len(b))
	}
	_, err = io.ReadFull(g.conns[from], b)
	return err
}

// each calls f for all other ranks at once, and what f returns for the first one that fails breaks the group.
func (g *Group) each(f func(rank int) error) error {
	type end struct {
		rank int
		err  error
	}
	ends, n := make(chan end, g.size), 0
	for r, c := range g.conns {
		if c != nil {
			n++
			go func() { ends <- end{r, f(r)} }()
		}
	}
	var err error
	for range n {
		if e := <-ends; e.err != nil && err == nil {
			err = g.broken(e.rank, e.err) // the others then end too
		}
	}
	return err
}

// both writes to a rank and reads from it at once. Where one fails it does not wait for the other, which ends when the
// group is broken.
func both(write, read func() error) error {
	done := make(chan error, 2)
	go func() { done <- write() }()
	go func() { done <- read() }()
	if err := <-done; err != nil {
		return err
	}
	return <-done
}

// broken breaks the group because the connection to a rank failed, and returns the group's fault.
func (g *Group) broken(rank int, err error) error {
	g.mu.Lock()
	fault, explain := g.fault, g.explain
	g.mu.Unlock()
	if fault == nil {
		if fault = err; explain != nil {
			fault = explain(rank, err)
		}
	}
	return g.Break(fault)
}

// Break ends every operation on this rank, now and later, with a fault; the first one stays. It returns that.
func (g *Group) Break(fault error) error {
	g.mu.Lock()
	first, device := g.fault == nil, g.device
	if first {
		g.fault = fault
		for _, c := range g.conns {
			if c != nil {
				_ = c.Close() // whoever reads from it is told of the fault
			}
		}
	}
	fault = g.fault
	g.mu.Unlock()
	if first && device != nil {
		device.Abort()
	}
	return fault
}

// Fault is what broke the group on this rank, nil while it stands.
func (g *Group) Fault() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.fault
}

// Close ends the group on this rank. The others must be done with it too.
func (g *Group) Close() {
	if g != nil {
		g.Use(nil)
		_ = g.Break(net.ErrClosed)
	}
}

// Gather gives every rank what each one gave, by rank.
func (g *Group) Gather(b []byte) ([][]byte, error) {
	if g.Size() == 1 {
		return [][]byte{b}, nil
	}
	out, begun := make([][]byte, g.size), time.Now()
	out[g.rank] = b
	err := g.each(func(r int) error {
		return both(func() error { return g.write(r, opGather, b) }, func() error {
			n, err := g.head(r, opGather)
			if err == nil && n > maxGather {
				err = fmt.Errorf("rank %d gives %d bytes to gather", r, n)
			}
			if err != nil {
				return err
			}
			out[r] = make([]byte, n)
			_, err = io.ReadFull(g.conns[r], out[r])
			return err
		})
	})
	if err != nil { // and something may still be coming
		return nil, err
	}
	came := -len(b)
	for _, x := range out {
		came += len(x)
	}
	g.traffic.Words.exchanged((g.size-1)*len(b), came, begun)
	return out, nil
}

// Barrier waits until every rank is here.
func (g *Group) Barrier() error {
	_, err := g.Gather(nil)
	return err
}

// pieceBytes is what each rank sums up of a piece: a slab is summed up in pieces of Size times as much, so that little
// memory is taken beside it.
const pieceBytes = 256 << 10

// Sum puts in the place of x the sum of all ranks' x, which have one length: rank 0's plus rank 1's and so on, one
// addition after the other in float32. Each rank sums up its part and gives it to all.
func (g *Group) Sum(x []float32) error {
	if g.Size() == 1 {
		return nil
	}
	const most = pieceBytes / 4
	for len(x) > 0 {
		n := min(len(x), most*g.size)
		if err := g.sum(x[:n]); err != nil {
			return err
		}
		x = x[n:]
	}
	return nil
}

func (g *Group) sum(x []float32) error {
	part := func(rank int) []float32 { return x[rank*len(x)/g.size : (rank+1)*len(x)/g.size] }
	own, begun := part(g.rank), time.Now()
	if g.temps == nil {
		g.temps = make([][]byte, g.size)
	}
	err := g.each(func(r int) error {
		if g.temps[r] == nil {
			g.temps[r] = make([]byte, pieceBytes+4)
		}
		return both(func() error { return g.write(r, opSum, bytesOf(part(r))) },
			func() error { return g.read(r, opSum, g.temps[r][:4*len(own)]) })
	})
	if err != nil {
		return err
	}
	theirs := func(r, i int) float32 {
		if r == g.rank {
			return own[i]
		}
		return floatAt(g.temps[r], i)
	}
	for i := range own {
		s := theirs(0, i)
		for r := 1; r < g.size; r++ {
			s += theirs(r, i)
		}
		own[i] = s
	}
	err = g.each(func(r int) error {
		return both(func() error { return g.write(r, opResult, bytesOf(own)) },
			func() error { return g.read(r, opResult, bytesOf(part(r))) })
	})
	others, parts := 4*(len(x)-len(own)), 4*(g.size-1)*len(own)
	g.traffic.Sums.exchanged(others+parts, others+parts, begun)
	return err
}

// Send gives a message to a rank that receives it.
func (g *Group) Send(to int, b []byte) error {
	if err := g.write(to, opPass, b); err != nil {
		return g.broken(to, err)
	}
	return nil
}

// Recv fills b with the message that a rank sends, which is of just its length.
func (g *Group) Recv(from int, b []byte) error {
	if err := g.read(from, opPass, b); err != nil {
		return g.broken(from, err)
	}
	return nil
}

// Broadcast gives all ranks b of the rank from; it has one length everywhere.
func (g *Group) Broadcast(from int, b []byte) error {
	switch {
	case g.Size() == 1:
		return nil
	case g.rank == from:
		return g.each(func(r int) error { return g.write(r, opBroadcast, b) })
	}
	if err := g.read(from, opBroadcast, b); err != nil {
		return g.broken(from, err)
	}
	return nil
}

// bytesOf views numbers as bytes in the machine's order, which is little-endian wherever this builds.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

func floatAt(b []byte, i int) float32 {
	return *(*float32)(unsafe.Pointer(&b[4*i]))
}

// Imagined is rank 0 of a group that is not there: it knows its part of the work, and does nothing together.
func Imagined(size int) *Group { return &Group{size: size, near: all(size)} }

// InProcess makes the groups of so many ranks that are goroutines of one process.
func InProcess(size int) []*Group {
	gs := make([]*Group, size)
	for r := range gs {
		gs[r] = &Group{rank: r, size: size, conns: make([]net.Conn, size), near: all(size)}
	}
	for a := range gs {
		for b := range a {
			gs[a].conns[b], gs[b].conns[a] = net.Pipe()
		}
	}
	return gs
}
