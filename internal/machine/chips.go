package machine

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Source says where the rates come from that times are predicted with.
type Source string

// The sources.
const (
	Measured  Source = "measured"  // on such a chip: by whole steps, or here by Learn or a CPU's calibration
	Datasheet Source = "datasheet" // of a chip that nobody has run this program on
	Assumed   Source = "assumed"   // another chip's, of a card of which only the memory is known
)

// Words say it to people.
func (s Source) Words() string {
	switch s {
	case Measured:
		return "rates measured"
	case Datasheet:
		return "rates by datasheet, not measured"
	}
	return "rates assumed: an " + assumedAs + "'s, by datasheet; only the memory is this card's"
}

// OfLinks say it to people of links between cards.
func (s Source) OfLinks() string {
	switch s {
	case Measured:
		return "measured"
	case Datasheet:
		return "by datasheet"
	}
	return "as from host memory"
}

// chip are figures of a GPU that is known by name.
type chip struct {
	name   string // as options have it
	in     string // in the device's own name
	memory int64  // what a process finds free on a card that nothing else uses
	peak   float64
	source Source
	rates  ops.Rates
}

// The figures of known chips. Peaks are the datasheets' dense bfloat16 rates with sums in float32. Memory is what the
// driver reports, less about 1 GiB where a display or error correction takes some. Rates are what whole operations of a
// step sustain and only serve to predict:
//   - h100: fitted to this program's steps of LLaMA-2 7B at 8k, 16k and 32k, 13B and Llama-3 8B at 32k; attention's is
//     its benchmark's at groups of 8,192, forward and backward. 7B at 8k and 32k they give to 4 %. h200 has the same
//     multiprocessors and 1.43 times the bandwidth, by the datasheets; steps on one were predicted by them.
//   - the others: see sheet.
//
// A name that is a part of another stands behind it. Moved is what page-locked copies reach on PCIe 5 and 4. Link is
// what copies between two cards reach: on an H200 scripts/bench-peer.py has 393 of the 450 GB/s that NVLink has in one
// direction by the datasheet, and the others are given that share of theirs; where cards are joined by PCIe alone it is
// what is reached from host memory; 0 where they can not read each other's memory.
var chips = []chip{
	{"h200", "H200", 139 << 30, 989e12, Measured,
		ops.Rates{Linear: 635e12, Attention: 556e12, Bytes: 3.4e12, Moved: 50e9, Link: nvlink(450), Call: 9e-6}},
	{"h100", "H100", 79 << 30, 989e12, Measured,
		ops.Rates{Linear: 635e12, Attention: 556e12, Bytes: 2.4e12, Moved: 50e9, Link: nvlink(450), Call: 9e-6}},
	sheet("b200", "B200", 178, 2250e12, 7.7e12, 50e9, nvlink(900)),
	sheet("a100", "A100", 79, 312e12, 2.04e12, 22e9, nvlink(300)),
	sheet("l40s", "L40S", 44, 362e12, 0.864e12, 22e9, 22e9),
	sheet("rtx5090", "RTX 5090", 31, 210e12, 1.79e12, 50e9, 0),
	sheet("rtx4090", "RTX 4090", 23, 165e12, 1.01e12, 22e9, 0),
	sheet("a6000", "RTX A6000", 47, 155e12, 0.768e12, 22e9, 22e9),
	sheet("rtx3090", "RTX 3090", 23, 71e12, 0.936e12, 22e9, 0),
	sheet("a10g", "A10G", 22, 70e12, 0.6e12, 22e9, 22e9),
	sheet("l4", "L4", 22, 121e12, 0.3e12, 22e9, 22e9),
}

// sheet are the rates of a chip by its datasheet: the dense rate and the memory's bandwidth. Products at 78 % of the
// rate, as an A100 has them; bandwidth at the h100's share of its own; attention at 0.7 times what FlashAttention-2 has
// on an A100 (arXiv 2307.08691, fig. 4: 190 of 312 TFLOP/s), the share of it that our kernels for chips other than
// Hopper's have on an H100. GiB is the free memory.
func sheet(name, in string, GiB int64, peak, bandwidth, moved, link float64) chip {
	return chip{name, in, GiB << 30, peak, Datasheet, ops.Rates{Linear: 0.78 * peak, Attention: 0.7 * 190. / 312 * peak,
		Bytes: 0.72 * bandwidth, Moved: moved, Link: link, Call: 9e-6}}
}

// nvlink is what copies between cards reach of a datasheet's GB/s in one direction.
func nvlink(sheet float64) float64 { return 393. / 450 * sheet * 1e9 }

// assumedAs is the chip whose rates stand for those of a card that is known by its memory alone.
const assumedAs = "rtx3090"

// old are chips without what the kernels need, with their compute capability.
var old = map[string]string{"t4": "7.5", "v100": "7.0", "p100": "6.0", "rtx2080ti": "7.5"}

// ampere are the known chips without products in FP8.
var ampere = []string{"a100", "a6000", "rtx3090", "a10g"}

// Names are the known chips, the fastest first.
func Names() (out []string) {
	for _, c := range chips {
		out = append(out, c.name)
	}
	return out
}

// Refused says why a chip that exists is not planned for; "" for others.
func Refused(name string) string {
	name = strings.ToLower(name)
	cc, ok := old[name]
	if !ok {
		cc, ok = old["rtx"+name]
	}
	if ok {
		return fmt.Sprintf("its compute capability is %s, without bfloat16 products; the kernels need 8.0 (Ampere, 2020) or "+
			"later", cc)
	}
	return ""
}

// What a CUDA process holds on a card that is not here: measured on an H100 with driver 13.0.
const (
	assumedContext   = 526 << 20
	assumedWorkspace = 132 << 20
)

// absent is a card of the chip that is not here, with nothing else on it.
func (c chip) absent() Machine {
	return Machine{Chip: c.name, Device: "cuda", Act: tensor.BF16, Workspace: assumedWorkspace, Context: assumedContext,
		Memory: c.memory, Rates: c.rates, Source: c.source, Peak: c.peak}
}

// Named is a GPU that is not here, with nothing else on it; ok is false for an unknown name.
func Named(name string) (m Machine, ok bool) {
	c := byName(name)
	if c == nil {
		return m, false
	}
	return c.absent(), true
}

// Sized is a card that is not here, of which only the memory is known, in bytes; what of it a process finds free is
// less.
func Sized(bytes int64) Machine {
	c := *byName(assumedAs)
	c.name, c.source, c.peak = fmt.Sprintf("%.4gGiB", float64(bytes)/(1<<30)), Assumed, 0
	c.memory = bytes - min(1<<30, bytes/20)
	return c.absent()
}

// byName is a known chip, written large or small, with or without RTX before it; nil for an unknown name.
func byName(name string) *chip {
	name = strings.ToLower(name)
	i := slices.IndexFunc(chips, func(c chip) bool { return c.name == name || c.name == "rtx"+name })
	if i < 0 {
		return nil
	}
	return &chips[i]
}

// knownAs finds the chip whose name stands in a device's own, as words of it; nil for none.
func knownAs(device string) *chip {
	i := slices.IndexFunc(chips, func(c chip) bool {
		return strings.Contains(" "+strings.ReplaceAll(device, "-", " ")+" ", " "+c.in+" ")
	})
	if i < 0 || strings.Contains(device, "Laptop") {
		return nil
	}
	return &chips[i]
}
