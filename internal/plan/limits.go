package plan

import (
	"fmt"
	"runtime/debug"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/ui"
)

// Memory are the bytes that the options allow; nil is what is free of the device's, and a part of what is available of
// the host's. Processes that share a card or a machine have equal parts of either.
type Memory struct {
	Device, Host *int64
	Card         int // processes on this one's card; 0 is one
	Machine      int // processes of the group on this machine; 0 is one
}

// Limits are bytes that may be used.
type Limits struct{ Device, Host int64 }

// Planner plans for a machine, within what may be used of its memory.
type Planner struct {
	machine.Machine
	Limits Limits
	Base   int64 // host bytes that the process holds before anything is taken

	shared Memory // of which these limits are a part, where processes share it
	whole  bool   // all of a card's memory may be used
	beside *Plan  // in whose room a plan is to fit too
}

// Here is the planner that the options make of a machine, at this moment: what the process holds counts.
func Here(asked Memory, m machine.Machine) (p Planner, err error) {
	p.Machine, p.shared = m, asked
	debug.FreeOSMemory() // what was used until now is not part of the work
	if p.Base, err = machine.RssAnon(); err != nil {
		return p, err
	}
	if asked.Device != nil && !m.OnHost {
		p.Limits.Device = *asked.Device
	}
	limit := m.DeviceLimit(p.Limits.Device)
	p.whole = limit >= m.DeviceLimit(0)
	p.Limits.Device = limit / int64(max(1, asked.Card))
	p.Limits.Host, err = asked.HostLimit()
	if asked.Host == nil {
		p.Limits.Host += p.Base
	}
	return p, err
}

// HostLimit is the host memory that may be used, in bytes.
func (asked Memory) HostLimit() (int64, error) {
	if asked.Host != nil {
		return *asked.Host / int64(max(1, asked.Machine)), nil
	}
	free, err := machine.HostAvailable()
	if err != nil {
		return 0, errs.Usagef("%s: the system does not say what memory is available (%v); give a size",
			errs.Option("host-mem"), err)
	}
	return free / 5 * 4 / int64(max(1, asked.Machine)), nil
}

// Agree has the limits be those that every rank of a group keeps within.
func (p *Planner) Agree(g *dist.Group) error {
	l := &p.Limits
	all, err := g.Numbers(float64(l.Device), float64(l.Host-p.Base))
	for _, w := range all {
		l.Device, l.Host = min(l.Device, int64(w[0])), min(l.Host, int64(w[1])+p.Base)
	}
	return err
}

// Together is Plan by all ranks of a group: rank 0's, within what each of them may use.
func (p *Planner) Together(g *dist.Group, r Request) (pl Plan, err error) {
	if g.Size() == 1 {
		return p.Plan(r)
	}
	if err = p.Agree(g); err != nil {
		return pl, err
	}
	if g.Rank() == 0 {
		if pl, err = p.Plan(r); err != nil {
			return pl, err
		}
	}
	if err = dist.FromFirst(g, &pl); err != nil || g.Rank() == 0 {
		return pl, err
	}
	w, err := r.At(r.Ctx)
	if err != nil {
		return pl, err
	}
	return p.Again(w, pl)
}

// Allows reports whether a plan is within the limits, its last steps too.
func (p Planner) Allows(pl Plan) bool { return p.room(pl).Host <= p.Limits.Host && p.onDevice(pl) }

// onDevice reports whether it is as far as the device's memory goes.
func (p Planner) onDevice(pl Plan) bool { return p.OnHost || p.room(pl).Device <= p.Limits.Device }

// room is what a plan takes, beside last steps that are settled.
func (p Planner) room(pl Plan) Plan {
	if p.beside != nil {
		pl.Last = p.beside
	}
	return pl.Room()
}

// Needs says what a plan takes of which memory, and what it may.
func (p Planner) Needs(pl Plan) string {
	pl = pl.Room()
	s := fmt.Sprintf("%s of host memory, where %s", ui.Bytes(pl.Host), p.allowsHost(p.Limits))
	if !p.OnHost {
		s = fmt.Sprintf("%s of device memory, where %s, and %s", ui.Bytes(pl.Device), p.allowsDevice(p.Limits), s)
	}
	return s
}

// allowsHost says what may be used of the host's memory, and by whom.
func (p Planner) allowsHost(l Limits) string { return allows("host-mem", l.Host, p.shared.Machine) }

// allowsDevice is the same of the device's memory.
func (p Planner) allowsDevice(l Limits) string { return allows("device-mem", l.Device, p.shared.Card) }

func allows(o errs.Option, bytes int64, processes int) string {
	s := fmt.Sprintf("%s allows %s", o, ui.Bytes(bytes))
	if processes > 1 {
		s += fmt.Sprintf(" to each of %d processes", processes)
	}
	return s
}

// another is the planner for another run of the program, in which the process may hold a little more than in this one.
func (p Planner) another() Planner {
	const differs = 1 << 20 // twice what was seen to differ
	p.Base += differs
	return p
}

// raise says what of the machine's memory has to be more for a plan that does not fit. The memory of a card cannot be
// raised where all of it is allowed.
func (p Planner) raise(lacks Plan) string {
	lacks = lacks.Room()
	host, device := lacks.Host > p.Limits.Host, !p.OnHost && lacks.Device > p.Limits.Device
	switch {
	case device && p.whole && host:
		return fmt.Sprintf("use a card with more memory and raise %s", errs.Option("host-mem"))
	case device && p.whole:
		return "use a card with more memory"
	case device && host:
		return fmt.Sprintf("raise %s and %s", errs.Option("device-mem"), errs.Option("host-mem"))
	case device:
		return fmt.Sprintf("raise %s", errs.Option("device-mem"))
	}
	return fmt.Sprintf("raise %s", errs.Option("host-mem"))
}
