package load

import (
	"fmt"
	"path/filepath"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/rope"
	"longlora/internal/rundir"
	"longlora/internal/s2attn"
)

// Record is the record of positions and of what is made of the windows.
func (b *Base) Record(p rope.Positions) rundir.Positions {
	r := rundir.Positions{Record: p.Record()}
	if b.Config.Windows != nil {
		r.Window = &b.Window
	}
	return r
}

// readBeside reads what a run recorded beside its adapter; nil without an adapter and where there is no record of a
// run.
func readBeside(adapter string) (*rundir.Positions, error) {
	run, err := rundir.ReadHead(adapter)
	if run == nil || err != nil {
		return nil, err
	}
	if run.Positions == nil && run.Kind != "" { // without that it is another program's
		return nil, errs.Dataf("%s: positions is missing", filepath.Join(adapter, rundir.RecordFile))
	}
	return run.Positions, nil
}

// ChooseWindow decides what is made of the model's sliding windows: what is asked for, where it is not nil; else what a
// run recorded beside the adapter, "" for none; else they stay. A length for a model of which no layer has a window is
// an error of kind Usage, of kind Data where the record says it. What is not plain from the options is noted.
func (b *Base) ChooseWindow(asked *s2attn.Choice, adapter string) error {
	r, err := readBeside(adapter)
	if err != nil {
		return err
	}
	var recorded *s2attn.Choice
	if r != nil {
		recorded = r.Window
	}
	path := filepath.Join(adapter, rundir.RecordFile)
	switch {
	case asked != nil:
		b.Window = *asked
		if b.Window > 0 && b.Config.Windows == nil {
			return errs.Usagef("%s %s: no layer of %s has a sliding window whose length could be set; leave the option out",
				errs.Option("sliding-window"), b.Window, b.Config.Path)
		}
		if recorded != nil && b.differ(*recorded) {
			b.Notes = append(b.Notes, fmt.Sprintf("%s %s, where the adapter was trained with %s (%s: positions.sliding_window)",
				errs.Option("sliding-window"), b.Window, *recorded, path))
		}
	case recorded != nil:
		b.Window = *recorded
		if b.Window > 0 && b.Config.Windows == nil {
			return errs.Dataf("%s: positions.sliding_window: %s, but no layer of %s has a sliding window; is it the adapter's "+
				"base?", path, b.Window, b.Config.Path)
		}
		if b.differ(s2attn.Keep) {
			b.Notes = append(b.Notes, fmt.Sprintf("sliding windows: %s, as the adapter was trained (%s)", b.Window, path))
		}
	}
	return nil
}

// differ reports whether another choice would give other windows than those in force.
func (b *Base) differ(other s2attn.Choice) bool {
	return !slices.Equal(b.Window.Apply(b.Config.Windows), other.Apply(b.Config.Windows))
}

// Windows says what is made of the model's sliding windows, "" for one that has none.
func (b *Base) Windows() string {
	if b.Config == nil || b.Config.Windows == nil {
		return ""
	}
	d := b.Desc()
	switch n := d.Windowed(); n {
	case 0:
		return "off: every layer is full"
	case d.L:
		return fmt.Sprintf("W = %d tokens in every layer", slices.Max(d.Windows))
	default:
		return fmt.Sprintf("W = %d tokens in %d of %d layers", slices.Max(d.Windows), n, d.L)
	}
}

// Unsegmented says so where S²-Attn is asked for and every layer has a window; "" elsewhere.
func Unsegmented(d model.Desc, spec s2attn.Spec) string {
	if spec.Mode == s2attn.Full || !d.Unsegmented() {
		return ""
	}
	return "every layer has a sliding window, so none is left for S²-Attn to act on, and groups have no effect; " +
		errs.Option("sliding-window").String() + " off makes full layers of them"
}
