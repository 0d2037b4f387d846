package plan

import (
	"longlora/internal/errs"
	"longlora/internal/model"
)

// checkForced refuses to move more layers than can be moved, to stream more than there are, and tiles without number.
func (p problem) checkForced() error {
	if err := p.checkTile(); err != nil {
		return err
	}
	if n := p.Forced.Stream; n != nil && *n > p.Desc.L {
		return errs.Usagef("%s %d: the model has %d layers", errs.Option("stream-layers"), *n, p.Desc.L)
	}
	if n := p.Forced.Shard; n != nil && *n > 0 && p.Peers < 2 {
		return errs.Usagef("%s on divides weights among the processes of a machine, and %s; leave it out",
			errs.Option("shard-weights"), p.Alone())
	}
	if m, most := p.Forced.Moved, model.MostMoved(p.Desc.L); m != nil && *m > most {
		return errs.Usagef("%s %d: of the model's %d layers %d can be moved: two stay on the device, and the last one is "+
			"not kept", errs.Option("move-layers"), *m, p.Desc.L, most)
	}
	return nil
}
