// Package machine is what is here: the processor, its memory and its limits, GPUs, how fast they are, and how much of
// them is in use.
package machine

import (
	"fmt"
	"strings"

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

// chip are figures of a GPU that is known by name.
type chip struct {
	in     string // in the device's own name
	memory int64  // what a process finds free on a card that nothing else uses
	peak   float64
	rates  ops.Rates
}

// The figures of known chips. Peaks are the datasheets' dense bfloat16 rates. Memory is what the driver reports on
// cards of 80, 80, 141 and 24 GB. Rates are what whole operations of a step sustain and only serve to predict:
//   - h100: fitted to this program's steps of LLaMA-2 7B at 8k, 16k and 32k, 13B and Llama-3 8B at 32k; attention's is
//     its benchmark's at groups of 8,192, forward and backward. 7B at 8k and 32k they give to 4 %. h200 has the same
//     multiprocessors and 1.43 times the bandwidth, by the datasheets.
//   - a100 and rtx4090: not measured. Products at 78 % of the datasheet's rate, bandwidth at the h100's share of it,
//     attention at 0.7 times what FlashAttention-2 has on an A100 (arXiv 2307.08691, fig. 4: 190 TFLOP/s), the
//     share of it that our kernels for these chips have.
//
// Moved is what page-locked copies reach on PCIe 5 and 4.
var chips = map[string]chip{
	"h100": {"H100", 79 << 30, 989e12, ops.Rates{Linear: 635e12, Attention: 556e12, Bytes: 2.4e12, Moved: 50e9,
		Call: 9e-6}},
	"h200": {"H200", 139 << 30, 989e12, ops.Rates{Linear: 635e12, Attention: 556e12, Bytes: 3.4e12, Moved: 50e9,
		Call: 9e-6}},
	"a100": {"A100", 79 << 30, 312e12, ops.Rates{Linear: 240e12, Attention: 130e12, Bytes: 1.4e12, Moved: 22e9,
		Call: 9e-6}},
	"rtx4090": {"RTX 4090", 23 << 30, 165e12, ops.Rates{Linear: 130e12, Attention: 70e12, Bytes: 0.7e12, Moved: 22e9,
		Call: 9e-6}},
}

// cpuRates are round figures for choosing between plans on a CPU; only their proportions matter there.
var cpuRates = ops.Rates{Linear: 1e11, Attention: 6e10, Bytes: 1e10, Moved: 1e10, Call: 2e-6}

// What a CUDA process holds on a card that is not here: measured on an H100 with driver 13.0.
const (
	assumedContext   = 526 << 20
	assumedWorkspace = 132 << 20
)

// Named is a GPU that is not here, with nothing else on it; ok is false for an unknown name.
func Named(name string) (m Machine, ok bool) {
	c, ok := chips[name]
	return Machine{Chip: name, Device: "cuda", Act: tensor.BF16, Workspace: assumedWorkspace, Context: assumedContext,
		Memory: c.memory,
		Rates:  c.rates, Peak: c.peak}, ok
}

// Here is the machine that the backend runs on.
func Here(b ops.Backend) Machine {
	m := Machine{Chip: "cpu", Device: "cpu", Act: b.Act(), OnHost: true, Workspace: b.WorkspaceBytes(), Rates: cpuRates,
		be: b}
	card, ok := b.(ops.Card)
	if !ok {
		return m
	}
	c := card.Chip()
	m.Chip, m.Device, m.OnHost, m.Context = c.Name, "cuda", false, card.ContextBytes()
	m.Memory, m.Others = c.Free, c.Total-c.Free
	if name, known := knownAs(c.Name); known {
		m.Chip, m.Rates, m.Peak = name, chips[name].rates, chips[name].peak
	} else if r, kept, err := learned(c.Name); kept && err == nil {
		m.Rates = r
	} else { // nobody has called Learn: the proportions of a middling chip
		m.Rates = chips["a100"].rates
	}
	return m
}

// knownAs finds the chip whose name is in a device's own.
func knownAs(device string) (name string, known bool) {
	for name, c := range chips {
		if strings.Contains(device, c.in) {
			return name, true
		}
	}
	return "", false
}

// Predicting are the rates to predict with: a CPU's are measured on the spot, a GPU's are built in.
func (m Machine) Predicting() (ops.Rates, error) {
	if m.be == nil || !m.OnHost {
		return m.Rates, nil
	}
	return calibrate(m.be)
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
