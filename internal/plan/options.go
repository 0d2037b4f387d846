package plan

import (
	"fmt"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Training are the options that a training step's memory and time depend on.
type Training struct {
	s2attn.Options
	load.Trained
	Full            s2attn.Share // of the steps, the last ones, that attend fully; of no meaning under full attention
	Steps           int          // 0: not counted yet
	Ctx             int
	Batch, Accum    int
	Processes       int    // that share the rows of a step; 0 is one
	Chain           int    // of them that divide each row; 0 is one
	Pack            string // auto, concat, cut or pad
	EvalEvery       int
	EvalAttn        []string // ways of attending that validation uses; none: as training attends
	Tile            int      // 0: the planner's choice
	KeepActivations string   // auto: the planner's choice
	MoveLayers      int      // -1: the planner's choice
	StreamLayers    *int     // nil: the planner's choice
	ShardWeights    string   // auto: the planner's choice, on or off
	Peers           int      // processes of this machine that can read each other's weights; 0 is one
	Apart           string   // why there is but one
	Weights         string   // how frozen linear weights are held: load.AsStored, or the name of a quant.Kind
	Products        string   // how those in fp8 are multiplied: see load.CheckProducts
}

// Step is the step that the options state for a model, with its validation, but for what its data take.
func (c Training) Step(d model.Desc, tr model.Train, weight model.Formats) (Work, error) {
	spec, err := c.Spec(c.Ctx)
	if err != nil {
		return Work{}, err
	}
	w := Work{Desc: d, Train: tr, Weight: weight, Spec: spec, Ctx: c.Ctx, Batch: min(c.Batch, c.share()),
		Chain: max(1, c.Chain), IDs: c.batchBytes(tr)}
	w.Cuts = w.Cut(c.Pack == "cut", c.Pack == "pad")
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
	w.Forced.Stream = c.StreamLayers
	w.Ranks, w.Peers, w.Apart = c.Processes, c.Peers, c.Apart
	switch all := d.L; c.ShardWeights {
	case "on":
		w.Forced.Shard = &all
	case "off":
		w.Forced.Shard = new(int)
	}
	return w, w.attend(c)
}

// Micros is the number of micro-batches of a step that each process does, the most that one does, or has a part in.
func (c Training) Micros() int { return (c.share() + c.Batch - 1) / c.Batch }

// share is the number of a step's rows that each process does, or has a part in, the most that one does.
func (c Training) share() int {
	chains := max(1, c.Processes/max(1, c.Chain))
	return (c.Batch*c.Accum + chains - 1) / chains
}

// FullSteps is how many of a run's steps attend fully, its last ones.
func (c Training) FullSteps(steps int) int {
	if c.Attn == "full" {
		return steps
	}
	return c.Full.Last(steps)
}

// attend settles how the steps attend, the first and the last ones, and how rows are scored beside them.
func (p *Work) attend(c Training) (err error) {
	steps := c.Steps
	if steps == 0 {
		steps = 1 << 30 // not counted: enough for any share to be some of them
	}
	full := c.FullSteps(steps)
	if full == steps {
		p.Spec = s2attn.Spec{Mode: s2attn.Full}
		p.Score, err = c.validation("full")
		return err
	}
	if p.Score, err = c.validation("s2"); full == 0 || err != nil {
		return err
	}
	last := &Last{Spec: s2attn.Spec{Mode: s2attn.Full}, When: fmt.Sprintf("in the last %d of %d steps", full, steps)}
	if c.Steps == 0 {
		last.When = fmt.Sprintf("in the last %s of the steps", &c.Full)
	}
	last.Score, err = c.validation("full")
	p.Last = last
	return err
}

// validation are the ways of attending that validation uses beside steps that attend in the way of this name.
func (c Training) validation(attn string) ([]s2attn.Spec, error) {
	if c.EvalEvery == 0 {
		return nil, nil
	}
	names := c.EvalAttn
	if len(names) == 0 {
		names = []string{attn}
	}
	var out []s2attn.Spec
	for _, n := range names {
		asked := c.Options
		if asked.Attn = n; c.Attn != "s2" { // the wrapped variant is a training's own
			asked.Shift = "split"
		}
		spec, err := asked.Spec(c.Ctx)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, spec) {
			out = append(out, spec)
		}
	}
	return out, nil
}

// Stated is the step that the options state for a shape, of which there is no checkpoint.
func (c Training) Stated(d model.Desc, onHost bool) (Work, error) {
	tr, err := c.Trains(&load.Base{}, d)
	if err != nil {
		return Work{}, err
	}
	w, err := c.Step(d, tr, load.Formats(d, c.Weights, tensor.Dense(tensor.BF16)))
	w.IDs += c.rowBytes()
	w.Made = load.Made(d, c.Weights, tensor.Dense(tensor.BF16), onHost)
	return w, err
}

// Of is the step that the options state for a checkpoint, of whose data nothing is read.
func (c Training) Of(base *load.Base, onHost bool) (Work, error) {
	tr, err := c.Trains(base, base.Desc())
	if err != nil {
		return Work{}, err
	}
	if c.Tune != "full" { // of which nothing is frozen
		base = base.As(c.Weights)
	}
	w, err := c.Step(base.Desc(), tr, base.Format)
	w.Made = base.Made(onHost)
	return w, err
}

// rowBytes is the host memory of a micro-batch's rows, where no data are read.
func (c Training) rowBytes() int64 { return 4 * int64(c.Ctx) * int64(c.Batch) }

// MemoryNotes say which options free no memory: where all of it is the host's, and where no weight is frozen.
func (c Training) MemoryNotes(m machine.Machine) (notes []string) {
	const onHost = "%s %d frees nothing on a CPU, where all memory is the host's"
	if c.MoveLayers > 0 && m.OnHost {
		notes = append(notes, fmt.Sprintf(onHost, errs.Option("move-layers"), c.MoveLayers))
	}
	if n := c.StreamLayers; n != nil && *n > 0 {
		switch {
		case m.OnHost:
			notes = append(notes, fmt.Sprintf(onHost, errs.Option("stream-layers"), *n))
		case c.Tune == "full":
			notes = append(notes, fmt.Sprintf("%s %d streams nothing: under %s full no weight is frozen",
				errs.Option("stream-layers"), *n, errs.Option("tune")))
		}
	}
	return notes
}

// batchBytes is the host memory of a micro-batch: a row's copy, its ids, targets and dropout keys.
func (c Training) batchBytes(tr model.Train) int64 {
	perToken := int64(12)
	if tr.Drop > 0 {
		perToken += 8
	}
	return perToken * int64(c.Ctx) * int64(c.Batch)
}

// Shape finds a named shape.
func Shape(name string) (model.Desc, error) {
	d, ok := model.Shape(name)
	if !ok {
		return d, errs.Usagef("%s %s: not one of %s", errs.Option("shape"), name, strings.Join(model.ShapeNames(), ", "))
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
