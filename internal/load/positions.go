package load

import (
	"fmt"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/rope"
	"longlora/internal/rundir"
)

// Positions are what a model is trained or read with.
type Positions struct {
	rope.Positions
	Changed  bool            // they differ from the base's
	Beside   *rope.Positions // those that the adapter was trained at; nil where no run.json lies beside it
	notes    []string
	warnings []string
}

// Told are the lines that the user should read about them.
func (p Positions) Told() []string {
	var lines []string
	for _, s := range p.notes {
		lines = append(lines, "note: "+s)
	}
	for _, s := range p.warnings {
		lines = append(lines, "warning: "+s)
	}
	return lines
}

// Note adds something to tell.
func (p *Positions) Note(format string, a ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, a...))
}

func (p *Positions) warn(format string, a ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, a...))
}

// Place gives the positions for training, from the adapter in a folder where one is named: its own take the place of
// the base's.
func (b *Base) Place(adapter string, r rope.Request) (p Positions, err error) {
	if p.Beside, err = b.beside(adapter); err != nil {
		return p, err
	}
	if p.Beside == nil {
		if adapter != "" { // what else it was trained at is not known
			r.Beyond, r.Margin = "", 0
		}
		p.Positions, p.Changed, err = b.Positions.Resolve(r, b.Desc().RotaryDim())
	} else {
		p.Positions, p.Changed, err = b.Positions.GoOn(*p.Beside, r, b.Desc().RotaryDim())
	}
	if err != nil {
		return p, err
	}
	if err := b.readable(p); err != nil {
		return p, err
	}
	p.idle(b, p.Beside, r)
	auto := r
	auto.Rope, auto.Factor = "auto", 0
	switch {
	case adapter == "":
	case p.Beside == nil && r == auto && p.Changed:
		p.warn("%s says no positions (there is no %s beside it): %s is taken for %d tokens; if it was trained at others, "+
			"say which", adapter, rundir.RecordFile, p, r.Ctx)
	case p.Beside != nil && r != auto:
		own, _, err := b.Positions.GoOn(*p.Beside, auto, b.Desc().RotaryDim())
		if err != nil || own.Differs(p.Positions) {
			p.warn("the positions asked for, %s, are not those of the adapter: it was trained at %s for %d tokens (%s)",
				p, p.Beside, p.Beside.MaxPos, filepath.Join(adapter, rundir.RecordFile))
		}
	}
	return p, nil
}

// readable refuses positions that transformers would not read of the family.
func (b *Base) readable(p Positions) error {
	only := b.Config.Arch.Config.Long
	if only == "" || !p.Changed || p.Type == "default" {
		return nil
	}
	return errs.Dataf("%s: positions of type %s: transformers reads none of a %s but %s, and 4.46 no %s with an "+
		"attention factor of its own, so none is written; what both read: %w",
		b.Config.Path, p.Type, b.Config.Arch.Class, only, only, errs.Advice{{Option: "rope", Value: "ntk"}})
}

// Reading gives the positions to use a model with: those that are asked for where r is not nil, otherwise those beside
// the adapter or, without, the base's.
func (b *Base) Reading(adapter string, r *rope.Request) (p Positions, err error) {
	if p.Beside, err = b.beside(adapter); err != nil {
		return p, err
	}
	switch {
	case r != nil:
		if p.Positions, p.Changed, err = b.Positions.Resolve(*r, b.Desc().RotaryDim()); err != nil {
			return p, err
		}
		if err := b.readable(p); err != nil {
			return p, err
		}
		p.idle(b, nil, *r)
		if p.Beside != nil && p.Beside.For(p.MaxPos).Differs(p.Positions) {
			p.warn("the positions asked for, %s for %d tokens, are not those of the adapter: it was trained at %s for %d "+
				"(%s)", p, p.MaxPos, p.Beside, p.Beside.MaxPos, filepath.Join(adapter, rundir.RecordFile))
		}
	case p.Beside != nil:
		p.Positions, p.Changed = *p.Beside, p.Beside.Differs(b.Positions)
	default:
		p.Positions = b.Positions
	}
	return p, nil
}

// idle notes a pre-training length that was given for nothing. has are the positions that take the place of the base's.
func (p *Positions) idle(b *Base, has *rope.Positions, r rope.Request) {
	if b.Positions.Idle(has, r, b.Desc().RotaryDim()) {
		p.Note("the pre-training length of %d tokens changes nothing: the positions are %s for %d tokens with it and "+
			"without", r.BaseCtx, p, r.Ctx)
	}
}

// beside reads the positions that a run recorded beside its adapter; nil where there is no record of a run.
func (b *Base) beside(adapter string) (*rope.Positions, error) {
	r, err := readBeside(adapter)
	if r == nil || err != nil {
		return nil, err
	}
	p, _, err := b.Positions.FromRecord(filepath.Join(adapter, rundir.RecordFile), r.Record)
	return &p, err
}
