// Package machine is what is here: the processor, its memory and its limits, GPUs, how fast they are, and how much of
// them is in use.
package machine

import (
	"fmt"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Machine is what is planned for: the one that a backend runs on, or a chip by name.
type Machine struct {
	Chip      string // "cpu", "h100", or a device's own name where it is none of the known chips
	Device    string // "cpu" or "cuda"
	Act       tensor.DType
	OnHost    bool  // the device's memory is the host's
	Workspace int64 // device bytes that the backend itself holds
	Context   int64 // device bytes of the driver's context, the kernels' code and the libraries
	Memory    int64 // device bytes that may be used in all, Context and Workspace in them
	Others    int64 // device bytes that other processes had before this one took any
	Rates     ops.Rates
	Source    Source  // of the rates that times are predicted with
	Peak      float64 // operations a second in dense bf16 products, by the datasheet; 0 where there is none

	be ops.Backend // nil for a chip by name
}

// driverSlack is left free where no limit is given: the driver rounds regions up and loads kernels when they are first
// used.
const driverSlack = 64 << 20

// DeviceLimit is the device memory that may be used, in bytes: what is asked for, but on a card that is here no more
// than what others leave; 0 asks for all that there is. It is 0 where the memory is the host's.
func (m Machine) DeviceLimit(asked int64) int64 {
	switch {
	case m.OnHost:
		return 0
	case asked == 0:
		return m.Memory - driverSlack
	case m.be != nil:
		return min(asked, m.Memory)
	}
	return asked
}

// cpuRates are round figures for choosing between plans on a CPU; only their proportions matter there.
var cpuRates = ops.Rates{Linear: 1e11, Attention: 6e10, Bytes: 1e10, Moved: 1e10, Call: 2e-6}

// Here is the machine that the backend runs on.
func Here(b ops.Backend) Machine {
	m := Machine{Chip: "cpu", Device: "cpu", Act: b.Act(), OnHost: true, Workspace: b.WorkspaceBytes(), Rates: cpuRates,
		Source: Measured, be: b}
	card, ok := b.(ops.Card)
	if !ok {
		return m
	}
	c := card.Chip()
	m.Chip, m.Device, m.OnHost, m.Context = c.Name, "cuda", false, card.ContextBytes()
	m.Memory, m.Others = c.Free, c.Total-c.Free
	known := knownAs(c.Name)
	if known != nil {
		m.Chip, m.Rates, m.Source, m.Peak = known.name, known.rates, known.source, known.peak
	} else { // unless Learn has been called: the proportions of a middling chip
		m.Rates, m.Source = byName("a100").rates, Assumed
	}
	if m.Source != Measured {
		if r, kept, err := learned(c.Name); kept && err == nil {
			m.Rates, m.Source = r, Measured
		}
	}
	return m
}

// IsHere reports whether it is the machine that a backend runs on, not a chip by name.
func (m Machine) IsHere() bool { return m.be != nil }

// timesFP8 is how many times as fast products are in FP8, by a step of LLaMA-2 7B at 32,768 tokens on an H200.
const timesFP8 = 1.68

// Links says where the rate between its cards comes from.
func (m Machine) Links() Source {
	switch {
	case m.Rates.Link == 0:
		return Assumed
	case m.Chip == "h200":
		return Measured
	}
	return Datasheet
}

// MultipliesFP8 reports whether weights in FP8 are multiplied in FP8.
func (m Machine) MultipliesFP8() bool { return m.Rates.FP8 > 0 }

// MultiplyFP8 says that weights in FP8 are to be multiplied in FP8, or made wide before; an error of kind Usage says
// why a card cannot.
func (m *Machine) MultiplyFP8(on bool) (err error) {
	card, here := m.be.(ops.Card)
	switch {
	case here:
		err = card.MultiplyFP8(on)
		m.Workspace = card.WorkspaceBytes()
	case on && slices.Contains(ampere, m.Chip):
		err = errs.Usagef("%s fp8: takes a GPU of compute capability 8.9 or later, which %s is not; use bf16",
			errs.Option("products"), m.Chip)
	case !m.OnHost:
		m.Workspace = assumedWorkspace
		if on {
			m.Workspace += ops.RoomFP8
		}
	}
	if m.Rates.FP8 = 0; on && err == nil {
		m.Rates.FP8 = timesFP8 * m.Rates.Linear
	}
	return err
}

// Predicting are the rates to predict with: a CPU's are measured, once in a process, a GPU's are built in.
func (m Machine) Predicting() (ops.Rates, error) {
	if m.be == nil || !m.OnHost {
		return m.Rates, nil
	}
	return rates(m.be)
}

// DeviceUsed is the device memory that this process holds, by the driver's count less what others held before; 0 where
// the memory is the host's.
func (m Machine) DeviceUsed() (int64, error) {
	card, ok := m.be.(ops.Card)
	if !ok {
		return 0, nil
	}
	used, err := card.Used()
	if err != nil {
		return 0, fmt.Errorf("device memory in use: %w", err)
	}
	return max(0, used-m.Others), nil
}

// Peaks are the most memory that was seen in use.
type Peaks struct {
	Machine      Machine
	Device, Host int64 // bytes
}

// Look takes the present figures into account.
func (p *Peaks) Look() error {
	d, err := p.Machine.DeviceUsed()
	if err != nil {
		return err
	}
	p.Device = max(p.Device, d)
	if rss, err := RssAnon(); err == nil { // where the kernel does not say it, nothing else depends on it
		p.Host = max(p.Host, rss)
	}
	return nil
}
