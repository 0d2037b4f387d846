package plan

import (
	"longlora/internal/model"
	"longlora/internal/ops"
)

// ModelRoom is the memory that a plan's model is made in: all but what a pass takes.
type ModelRoom struct{ model.Memory }

// NewModelRoom takes it.
func NewModelRoom(b ops.Backend, pl Plan) (*ModelRoom, error) {
	r := &ModelRoom{}
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
	if err == nil && pl.HostState {
		err = take(&r.State, "trained values and moments", ops.Host, pl.State)
	}
	if err != nil {
		r.Free(b)
		return nil, err
	}
	return r, nil
}

// Free gives the memory back; models made in it are dead.
func (r *ModelRoom) Free(b ops.Backend) {
	for _, a := range []*ops.Arena{r.Params, r.Slots, r.Waiting, r.State} {
		if a != nil {
			a.Free(b)
		}
	}
}
