package plan

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// TrainingStep is the step that train's options state, with its validation, but for what its data take.
func TrainingStep(c *config.Train, d model.Desc, tr model.Train, weight tensor.Format) (Work, error) {
	w := Work{Desc: d, Train: tr, Weight: weight, Spec: Spec(c), Ctx: c.Ctx, Batch: c.Batch,
		Cuts: c.Pack == "cut" || c.Pack == "pad" && c.Batch > 1, IDs: batchBytes(c, tr)}
	if w.Spec.Mode != s2attn.Roll { // under roll all rows of a micro-batch are one tile
		w.Forced.Tile = c.Tile
	}
	w.Forced.Keep = c.KeepActivations
	if w.Forced.Keep == "auto" {
		w.Forced.Keep = ""
	}
	if c.MoveLayers >= 0 {
		w.Forced.Moved = &c.MoveLayers
	}
	return w, w.attend(c)
}

// attend settles how the steps attend, the first and the last ones, and how rows are scored beside them.
func (p *Work) attend(c *config.Train) (err error) {
	steps := c.Steps
	if steps == 0 {
		steps = 1 << 30 // not counted: enough for any share to be some of them
	}
	full := c.FullSteps(steps)
	if full == steps {
		p.Spec = s2attn.Spec{Mode: s2attn.Full}
		p.Score, err = validation(c, "full")
		return err
	}
	if p.Score, err = validation(c, "s2"); full == 0 || err != nil {
		return err
	}
	last := &Last{Spec: s2attn.Spec{Mode: s2attn.Full}, When: fmt.Sprintf("in the last %d of %d steps", full, steps)}
	if c.Steps == 0 {
		last.When = fmt.Sprintf("in the last %s of the steps", &c.Full)
	}
	last.Score, err = validation(c, "full")
	p.Last = last
	return err
}

// validation are the ways of attending that validation uses beside steps that attend in the way of this name.
func validation(c *config.Train, attn string) ([]s2attn.Spec, error) {
	if c.EvalEvery == 0 {
		return nil, nil
	}
	names := c.EvalAttn
	if len(names) == 0 {
		names = []string{attn}
	}
	var out []s2attn.Spec
	for _, n := range names {
		spec := s2attn.Spec{Mode: s2attn.Full}
		if n == "s2" && c.Attn == "s2" {
			spec = Spec(c)
		} else if n == "s2" {
			a := c.Attend
			a.Attn = "s2"
			g, err := a.GroupFor(c.Values, c.Ctx)
			if err != nil {
				return nil, err
			}
			spec = s2attn.Spec{Mode: s2attn.Split, Group: g}
		}
		if !slices.Contains(out, spec) {
			out = append(out, spec)
		}
	}
	return out, nil
}

// Stated is the step that train's options state for a model, opened or of a shape, of whose data nothing is read.
func Stated(c *config.Train, opened *load.Base, d model.Desc, weight tensor.Format) (Work, error) {
	tr, err := load.Trains(c, opened, d)
	if err != nil {
		return Work{}, err
	}
	w, err := TrainingStep(c, d, tr, weight)
	w.IDs += 4 * int64(c.Ctx) * int64(c.Batch)
	return w, err
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

// batchBytes is the host memory of a micro-batch: a row's copy, its ids, targets and dropout keys.
func batchBytes(c *config.Train, tr model.Train) int64 {
	perToken := int64(12)
	if tr.Drop > 0 {
		perToken += 8
	}
	return perToken * int64(c.Ctx) * int64(c.Batch)
}

// Shape finds a named shape.
func Shape(name string) (model.Desc, error) {
	d, ok := model.Shapes[name]
	if !ok {
		return d, errs.Usagef("--shape %s: not one of %s", name, strings.Join(model.ShapeNames(), ", "))
	}
	return d, nil
}

// Group is G, the whole context under full attention or where G is longer.
func (w Work) Group() int {
	if w.Spec.Mode == s2attn.Full {
		return w.Ctx
	}
	return min(w.Spec.Group, w.Ctx)
}

// TypeName is an element type as --dtype has it.
func TypeName(d tensor.DType) string {
	if d == tensor.F32 {
		return "fp32"
	}
	return "bf16"
}
