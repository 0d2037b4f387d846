package plan

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/ui"
)

// Pose is the problem that train's options state, but for what the data and the process take.
func Pose(c *config.Train, d model.Desc, tr model.Train, weight tensor.DType, m machine.Machine) Problem {
	p := Problem{Desc: d, Train: tr, Weight: weight, Spec: Spec(c), Ctx: c.Ctx, Batch: c.Batch,
		Cuts: c.Pack == "cut" || c.Pack == "pad" && c.Batch > 1, Machine: m}
	if p.Spec.Mode != s2attn.Roll { // under roll all rows of a micro-batch are one tile
		p.Forced.Tile = c.Tile
	}
	p.Forced.Keep = c.KeepActivations
	if p.Forced.Keep == "auto" {
		p.Forced.Keep = ""
	}
	if c.MoveLayers >= 0 {
		p.Forced.Moved = &c.MoveLayers
	}
	return p
}

// MoveNote says that --move-layers frees nothing where all memory is the host's; "" where it does.
func MoveNote(c *config.Train, m machine.Machine) string {
	if c.MoveLayers > 0 && m.OnHost {
		return fmt.Sprintf("--move-layers %d frees nothing on a CPU, where all memory is the host's", c.MoveLayers)
	}
	return ""
}

// Spec is how training attends.
func Spec(c *config.Train) s2attn.Spec {
	switch {
	case c.Attn == "full":
		return s2attn.Spec{Mode: s2attn.Full}
	case c.Shift == "roll":
		return s2attn.Spec{Mode: s2attn.Roll, Group: c.G}
	}
	return s2attn.Spec{Mode: s2attn.Split, Group: c.G}
}

// BatchBytes is the host memory of a micro-batch: a row's copy, its ids, targets and dropout keys.
func BatchBytes(c *config.Train, tr model.Train) int64 {
	perToken := int64(12)
	if tr.Drop > 0 {
		perToken += 8
	}
	return perToken * int64(c.Ctx) * int64(c.Batch)
}

// Needs says what a plan takes of which memory, and what it may.
func Needs(p Plan, lim Limits, m machine.Machine) string {
	s := fmt.Sprintf("%s of host memory, where --host-mem allows %s", ui.Bytes(p.Host), ui.Bytes(lim.Host))
	if !m.OnHost {
		s = fmt.Sprintf("%s of device memory, where --device-mem allows %s, and %s", ui.Bytes(p.Device), ui.Bytes(lim.Device), s)
	}
	return s
}

// Shape finds a named shape.
func Shape(name string) (model.Desc, error) {
	d, ok := model.Shapes[name]
	if !ok {
		return d, errs.Usagef("--shape %s: not one of %s", name, strings.Join(model.ShapeNames(), ", "))
	}
	return d, nil
}

// Asked is what is planned for a row of a model of which nothing is open.
func Asked(c *config.Train, d model.Desc, tr model.Train, weight tensor.DType, m machine.Machine) (Problem, Limits, error) {
	runtime.GC()
	debug.FreeOSMemory()
	anon, err := machine.RssAnon()
	if err != nil {
		return Problem{}, Limits{}, err
	}
	p := Pose(c, d, tr, weight, m)
	p.Base, p.IDs = anon, BatchBytes(c, tr)+4*int64(c.Ctx)*int64(c.Batch)
	lim, err := LimitsOf(&c.Common, m, anon)
	return p, lim, err
}

// Group is G, the whole context under full attention or where G is longer.
func (p Problem) Group() int {
	if p.Spec.Mode == s2attn.Full {
		return p.Ctx
	}
	return min(p.Spec.Group, p.Ctx)
}

// TypeName is an element type as --dtype has it.
func TypeName(d tensor.DType) string {
	if d == tensor.F32 {
		return "fp32"
	}
	return "bf16"
}
