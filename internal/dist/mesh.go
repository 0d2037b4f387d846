package dist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"longlora/internal/errs"
)

// mesh joins every two ranks for data: each calls those before it.
func (m *meeting) mesh(ctx context.Context, j *Job) error {
	p := m.place
	g := &Group{rank: p.Rank, size: p.Size, conns: make([]net.Conn, p.Size)}
	j.Group = g
	j.neighbours()
	deadline := m.until
	if !p.Launched {
		deadline = time.Now().Add(time.Minute)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = m.data.Close() })
	defer stop()
	me := m.me
	me.Data = true
	zero := p.Addr // as this rank reaches rank 0
	if p.Rank > 0 {
		zero, _, _ = net.SplitHostPort(j.lines[0].RemoteAddr().String())
	}
	for r := range p.Rank {
		addr := j.Hellos[r].Addr
		if addr == "" {
			addr = zero
		}
		addr = net.JoinHostPort(addr, strconv.Itoa(j.Hellos[r].Port))
		d := net.Dialer{Timeout: handshakeTime}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			g.conns[r] = c
			_, err = call(c, p.Token, me)
		}
		if err != nil {
			return errs.Usagef("rank %d does not reach %s at %s: %w; ranks must reach each other on any port", p.Rank,
				j.Hellos[r].name(), addr, reason(err))
		}
	}
	return m.take(ctx, g, me)
}

// take accepts the data connections of the ranks after this one.
func (m *meeting) take(ctx context.Context, g *Group, me Hello) error {
	var mu sync.Mutex
	left := m.place.Size - 1 - m.place.Rank
	over := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return left == 0
	}
	for !over() {
		c, err := m.data.Accept()
		if err != nil {
			mu.Lock()
			defer mu.Unlock()
			if left == 0 {
				return nil
			}
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			var missing []int
			for r := m.place.Rank + 1; r < g.size; r++ {
				if g.conns[r] == nil {
					missing = append(missing, r)
				}
			}
			return errs.Usagef("%s did not reach rank %d at %s; ranks must reach each other on any port", ranks(missing), g.rank,
				m.data.Addr())
		}
		go func() {
			them, err := answer(c, m.place.Token, me, func(h Hello) string {
				mu.Lock()
				defer mu.Unlock()
				if !h.Data || h.Rank <= g.rank || h.Rank >= g.size || g.conns[h.Rank] != nil {
					return fmt.Sprintf("rank %d has no place for rank %d", g.rank, h.Rank)
				}
				g.conns[h.Rank] = c
				return ""
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				_ = c.Close()
				if them.Rank < g.size && them.Rank >= 0 && g.conns[them.Rank] == c {
					g.conns[them.Rank] = nil
				}
				return
			}
			if left--; left == 0 {
				_ = m.data.Close()
			}
		}()
	}
	return nil
}

// reason is a connection's fault without addresses, which the message has.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("who listens there hangs up")
	case os.IsTimeout(err):
		return errors.New("no answer")
	}
	return err
}

// Introduce has every rank know which device each one uses, by a name that no other has in the world, or cpu, and which
// NCCL it found, "" for none. Ranks that can not work together are an error of kind Usage.
func (j *Job) Introduce(device, nccl string) error {
	own, err := json.Marshal(Hello{Device: device, NCCL: nccl})
	if err != nil {
		return err
	}
	all, err := j.Gather(own)
	if err != nil {
		return err
	}
	for r, b := range all {
		var h Hello
		if err := json.Unmarshal(b, &h); err != nil {
			return fmt.Errorf("rank %d does not say what it computes on: %w", r, err)
		}
		me := &j.Hellos[r]
		j.mu.Lock()
		me.Device, me.NCCL = h.Device, h.NCCL
		j.mu.Unlock()
		if first := j.Hellos[0]; major(h.NCCL) != major(first.NCCL) {
			return errs.Usagef("%s has NCCL %s, %s has %s: install one version on all machines", me.name(), orNone(h.NCCL),
				first.name(), orNone(first.NCCL))
		}
	}
	return nil
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

// major is the part of a version within which NCCL's ranks understand each other: 2.30 of 2.30.7.
func major(version string) string {
	parts := strings.Split(version, ".")
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// neighbours finds the ranks of this rank's machine.
func (j *Job) neighbours() {
	j.near = nil
	for r, h := range j.Hellos {
		if h.ID == j.Hellos[j.Place.Rank].ID {
			j.near = append(j.near, r)
		}
	}
}

// Cards counts the ranks on this rank's machine, and those of them that share its card or, on the CPU, its processor.
func (j *Job) Cards() (machine, card int) {
	me := j.Hellos[j.Place.Rank]
	for _, h := range j.Hellos {
		if h.ID == me.ID {
			machine++
			if h.Device == me.Device {
				card++
			}
		}
	}
	return machine, card
}

// Machines counts the group's machines.
func (j *Job) Machines() int {
	var ids []string
	for _, h := range j.Hellos {
		if !slices.Contains(ids, h.ID) {
			ids = append(ids, h.ID)
		}
	}
	return len(ids)
}
