package plan

import (
	"slices"
	"unsafe"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/ui"
)

// ModelRoom is the memory that a plan's model is made in: all but what a pass takes.
type ModelRoom struct {
	model.Memory
	Regions *dist.Regions // what the ranks of the machine read of each other; nil where nothing is divided
}

// NewModelRoom takes it; g are the ranks among which weights may be divided. Host memory that is not there is refused:
// taking it would end the process without a word.
func NewModelRoom(b ops.Backend, pl Plan, g *dist.Group) (*ModelRoom, error) {
	r, wait := &ModelRoom{}, pl.Streamed+pl.State
	if free, err := machine.HostAvailable(); err == nil && wait > free {
		return nil, errs.NoFitf("the plan has %s of weights and trained state wait in host memory%s, and %s are available; "+
			"lower %s, or end what else uses memory", ui.Bytes(wait), g.Each(), ui.Bytes(free), errs.Option("host-mem"))
	}
	take := func(to **ops.Arena, name string, s ops.Space, size int64) (err error) {
		*to, err = ops.NewArena(b, name, s, size)
		return err
	}
	err := take(&r.Params, "parameters", ops.Device, pl.Params)
	if err == nil && pl.Stream > 0 {
		r.Stream = pl.Stream
		if err = take(&r.Slots, "slots for streamed weights", ops.Device, pl.Slots); err == nil {
			err = take(&r.Waiting, "streamed weights", ops.Host, pl.Streamed)
		}
	}
	if err == nil && pl.Shard > 0 {
		r.Shard = pl.Shard
		r.Parts = &model.Parts{N: len(g.Near()), I: slices.Index(g.Near(), g.Rank())}
		if err = take(&r.Slots, "slots for sharded weights", ops.Device, pl.Slots); err == nil {
			err = take(&r.Parts.Own, "a part of the sharded weights", ops.Shared, pl.Shared)
		}
		r.Parts.Join = func() (at []unsafe.Pointer, err error) {
			if r.Regions, err = g.Regions(b, r.Parts.Own); err == nil {
				at = r.Regions.At
			}
			return at, err
		}
	}
	if err == nil && pl.HostState {
		err = take(&r.State, "trained matrices' state", ops.Host, pl.State)
	}
	if err != nil {
		r.Free(b)
		return nil, err
	}
	return r, nil
}

// Free gives the memory back; models made in it are dead.
func (r *ModelRoom) Free(b ops.Backend) {
	r.Regions.Close()
	all := []*ops.Arena{r.Params, r.Slots, r.Waiting, r.State}
	if r.Parts != nil {
		all = append(all, r.Parts.Own)
	}
	for _, a := range all {
		if a != nil {
			a.Free(b)
		}
	}
}
