package plan

import (
	"fmt"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/ui"
)

// Last is what changes before the last steps of a run: they attend in another way, that needs more. One model, its
// gradients and moments are theirs as the first steps left them; each way of attending has a plan of its own, and both
// are carried out in one room.
type Last struct {
	Spec  s2attn.Spec
	Score []s2attn.Spec
	When  string // which steps they are, for a refusal: "in the last 15 of 120 steps"
}

// AsLast is the work of the last steps.
func (p Work) AsLast() Work {
	if p.oneTile() { // as the first steps are, which then fit where the last ones do
		p.Forced.Tile = p.Ctx * p.Batch
	}
	p.Spec, p.Score, p.Last = p.Last.Spec, p.Last.Score, nil
	return p
}

// Attn is the way of attending as options have it.
func (p Work) Attn() string {
	if p.Spec.Mode == s2attn.Full {
		return "full"
	}
	return "s2"
}

// oneTile reports whether rows cannot be cut into tiles.
func (p Work) oneTile() bool {
	roll := func(s s2attn.Spec) bool { return s.Mode == s2attn.Roll }
	return roll(p.Spec) || slices.ContainsFunc(p.Score, roll)
}

// Room is the memory in which the first steps and the last ones can be carried out, one after the other.
func (pl Plan) Room() Plan {
	room, last := pl, pl.Last
	room.Last = nil
	if last == nil {
		return room
	}
	room.Act, room.Context = max(pl.Act, last.Act), max(pl.Context, last.Context)
	if last.Halo+last.MovedBytes > pl.Halo+pl.MovedBytes {
		room.Halo, room.MovedBytes = last.Halo, last.MovedBytes
	}
	room.Host += room.Halo + room.MovedBytes - pl.Halo - pl.MovedBytes
	if pl.Device == 0 { // all memory is host memory
		room.Host += room.Act - pl.Act
	} else {
		room.Device += room.Act + room.Context - pl.Act - pl.Context
	}
	return room
}

// both is chooseTwo for steps and last steps. The last ones are planned first: in the room that they need the first
// ones always fit, if only with the same tile, and mostly as they would alone.
func (c *choosing) both(lim Limits) (best, next Plan, err error) {
	last, _, refusal := c.last.within(lim)
	if refusal != nil {
		if errs.Code(refusal) == int(errs.NoFit) {
			best, err = c.neither(lim, last)
			return best, next, err
		}
		return best, next, refusal
	}
	c.beside(last)
	best, next, err = c.z.two(lim, &last)
	if errs.Code(err) == int(errs.NoFit) {
		last, best, next, err = c.smaller(lim, last, best, err)
	}
	best.Last, next.Last = &last, &last
	return best, next, err
}

// beside has the first steps be carried out with the model as the last ones have it: one is loaded for both.
func (c *choosing) beside(last Plan) {
	f := &c.z.p.Forced
	f.Stream, f.Shard, f.HostState = &last.Stream, &last.Shard, &last.HostState
}

// neither is the smallest plan of both where the last steps do not fit, and the refusal, which says whether the first
// ones do: of the room that both need, one after the other.
func (c *choosing) neither(lim Limits, last Plan) (Plan, error) {
	c.z.p.Forced, c.z.p.Limits, c.z.p.beside = c.w.Forced, lim, nil
	fits := c.z.fits()
	c.beside(last)
	c.z.p.beside = &last
	least := c.z.least()
	least.Last = &last
	asked, how := c.w.asked(), last.How()
	if fits {
		return least, fmt.Errorf("%s, attention is full, and there %w. The steps before them, under %s, fit",
			c.w.Last.When, c.z.p.lacks(asked, how, least.Room()), c.z.p.Attn())
	}
	if first := least.How(); first != how {
		how = fmt.Sprintf("%s; %s, where attention is full, %s", first, c.w.Last.When, how)
	}
	return least, c.z.p.lacks(asked, how, least.Room())
}

// smaller plans last steps that leave the first ones the room that they lack: where all memory is the host's, what
// waits between the first ones' tiles lies beside the last ones' activations.
func (c *choosing) smaller(lim Limits, last, least Plan, lacks error) (l, best, next Plan, err error) {
	l, best, err = last, least, lacks
	for less := lim; errs.Code(err) == int(errs.NoFit); {
		best.Last = &l
		lack := best.Room().Host - lim.Host
		if lack <= 0 {
			return l, best, next, err
		}
		less.Host -= lack
		smaller, _, refusal := c.last.within(less)
		if refusal != nil && smaller.Host >= l.Host {
			return l, best, next, errs.NoFitf("%s does not fit: the last steps fit, and those before them do, but one "+
				"after the other they need %s of host memory; %s", c.w.asked(), ui.Bytes(best.Room().Host),
				c.z.p.allowsHost(lim))
		}
		l = smaller
		best, next, err = c.z.two(lim, &l)
	}
	return l, best, next, err
}

// Again plans work as a saved plan has it.
func (p Planner) Again(w Work, saved Plan) (Plan, error) {
	pl, err := p.Count(w, saved.Tiling)
	if err != nil || w.Last == nil {
		return pl, err
	}
	last, err := p.Count(w.AsLast(), saved.Last.Tiling)
	pl.Last = &last
	return pl, err
}

// Check refuses a plan that the work cannot be carried out by.
func (p Work) Check(pl Plan) error {
	if err := p.check(pl.Tiling); err != nil {
		return err
	}
	if (p.Last == nil) != (pl.Last == nil) {
		return fmt.Errorf("last: there for runs alone whose last steps attend in another way")
	}
	if p.Last != nil {
		if err := p.AsLast().check(pl.Last.Tiling); err != nil {
			return fmt.Errorf("last: %w", err)
		}
		if pl.HostState != pl.Last.HostState {
			return fmt.Errorf("last: host_state: %v, where the first steps have %v, and one model is loaded",
				pl.Last.HostState, pl.HostState)
		}
		if is, was := [2]int{pl.Last.Stream, pl.Last.Shard}, [2]int{pl.Stream, pl.Shard}; is != was {
			return fmt.Errorf("last: stream and shard: %d, where the first steps have %d, and one model is loaded", is, was)
		}
	}
	return nil
}

// shardable is how many layers' weights a tiling can have sharded.
func (p Work) shardable(tl model.Tiling) int {
	if p.Peers < 2 || tl.Stream > 0 {
		return 0
	}
	return p.Desc.L
}

// check refuses a tiling of the first steps.
func (p Work) check(tl model.Tiling) error {
	n := p.Ctx * p.Batch
	for _, c := range []struct {
		field       string
		v, from, to int
	}{
		{"tile", tl.Tile, 1, n}, {"more", tl.More, 0, p.Desc.L}, {"moved", tl.Moved, 0, model.MostMoved(p.Desc.L)},
		{"stream", tl.Stream, 0, p.Desc.L}, {"shard", tl.Shard, 0, p.shardable(tl)},
		{"mlp_rows", tl.MLPRows, 1, n}, {"head_rows", tl.HeadRows, 1, n},
	} {
		if c.v < c.from || c.v > c.to {
			return fmt.Errorf("%s: %d is not from %d to %d", c.field, c.v, c.from, c.to)
		}
	}
	if p.oneTile() && tl.Tile != n {
		return fmt.Errorf("tile: %d, where rolled groups need one tile of %d", tl.Tile, n)
	}
	return nil
}
