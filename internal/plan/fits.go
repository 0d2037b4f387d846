package plan

import (
	"fmt"
	"slices"
	"sort"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ui"
)

// least is the plan of the least memory, of those that the device has room for where there are some: host memory is
// easier to come by, and where there are none, that of the least device memory. Beside another plan it is the one with
// which the room for both is least.
func (z *counted) least() Plan {
	var least, room Plan
	take := func(tl model.Tiling) {
		pl := z.size(tl)
		takes := z.p.room(pl)
		if here, was := z.p.onDevice(pl), z.p.onDevice(least); least.Tile == 0 || here && !was ||
			here == was && z.less(takes, room, here) {
			least, room = pl, takes
		}
	}
	for _, tl := range z.smallest() {
		take(tl)
		if z.p.Forced.Stream == nil && tl.Shard == 0 {
			tl.Stream = z.leastStreamed(tl)
			take(tl)
		}
	}
	if z.p.Kind != Step {
		return least
	}
	return z.count(least.Tiling)
}

// less compares what two plans take, for neither of which a device has room, or for both.
func (z *counted) less(a, b Plan, here bool) bool {
	if !here && a.Device != b.Device {
		return a.Device < b.Device
	}
	return a.Host+a.Device < b.Host+b.Device
}

// smallest are the tilings of least device memory, and with nothing moved or streamed of least memory in all, for every
// tile.
func (z *counted) smallest() []model.Tiling {
	var out []model.Tiling
	keeps, moves, streams, shards := z.p.keeps(), z.p.moves(), z.streams(), z.shards()
	ends := func(n []int) []int { return slices.Compact([]int{n[0], n[len(n)-1]}) }
	for _, t := range z.p.tiles() {
		mlp, head := z.p.pieces(t)
		tl := model.Tiling{Tile: t, Keep: keeps[len(keeps)-1], MLPRows: mlp[len(mlp)-1], HeadRows: head}
		for _, tl.Moved = range ends(moves) {
			for _, n := range z.places(ends(streams), ends(shards)) {
				tl.Stream, tl.Shard = n[0], n[1]
				for _, tl.HostState = range z.states() {
					out = append(out, tl)
				}
			}
		}
	}
	return out
}

// none is the plan of the least memory, and the refusal that says what it needs of what there is.
func (z *counted) none() (least, next Plan, err error) {
	p, least := z.p, z.least()
	asked, how := p.asked(), fmt.Sprintf("tile %d", least.Tile)
	if p.Kind == Step {
		how = least.How()
	} else if p.Prompt > 0 {
		asked = fmt.Sprintf("%s %d after %d tokens of prompt", errs.Option("max-tokens"), p.Ctx-p.Prompt, p.Prompt)
	}
	return least, next, p.lacks(asked, how, least)
}

// lacks is the refusal of what is asked: the smallest plan, how it is carried out, needs more than what is allowed.
func (p Planner) lacks(asked, how string, least Plan) error {
	s := fmt.Sprintf("%s does not fit: the smallest plan (%s) needs %s of host memory", asked, how, ui.Bytes(least.Host))
	if !p.OnHost {
		s += fmt.Sprintf(" and %s of device memory", ui.Bytes(least.Device))
	}
	s += "; " + p.allowsHost(p.Limits)
	if !p.OnHost {
		s += ", " + p.allowsDevice(p.Limits)
	}
	return errs.NoFitf("%s", s)
}

// fits reports whether some plan fits. One of so many tiles that it is refused does not.
func (pr Planner) fits(w Work) (bool, error) {
	if (problem{w, pr}).checkTile() != nil {
		return false, nil
	}
	var beside *Plan
	if w.Last != nil {
		if ok, err := pr.fits(w.AsLast()); !ok || err != nil {
			return false, err
		}
		if pr.OnHost { // elsewhere the first steps always fit in the last ones' room
			z, err := newCounted(problem{w.AsLast(), pr})
			if err != nil {
				return false, err
			}
			last := z.least()
			beside = &last
		}
		w.Last = nil
	}
	p := problem{w, pr}
	p.beside = beside
	z, err := newCounted(p)
	if err != nil {
		return false, err
	}
	return z.fits(), nil
}

// fits reports whether some tiling fits.
func (z *counted) fits() bool {
	return slices.ContainsFunc(z.smallest(), func(tl model.Tiling) bool {
		return z.p.Allows(z.size(tl)) || z.squeezed(tl)
	})
}

// squeezed reports whether a tiling fits with as many layers moved, and then streamed, as the device needs. What
// neither moves all nor nothing may fit where those two do not, one for want of host memory and one for want of device
// memory, and so with streaming.
func (z *counted) squeezed(tl model.Tiling) bool {
	moves, streams := z.p.moves(), z.streams()
	if tl.Moved == moves[0] {
		i := sort.Search(len(moves), func(i int) bool {
			tl.Moved = moves[i]
			return z.p.onDevice(z.size(tl))
		})
		tl.Moved = moves[min(i, len(moves)-1)]
	}
	if len(streams) > 1 {
		tl.Stream = z.leastStreamed(tl)
	}
	return z.p.Allows(z.size(tl))
}

// longestTried is where the search ends.
const longestTried = 1 << 27

// unit is how many tokens the contexts differ by that are tried, and the shortest of them.
const unit = 64

// longest is the longest context that fits, found by doubling and halving, to within 1/256; 0 when not even 64 tokens
// do. at is the work at a context; one that is too short for the group asked for says nothing about memory.
func (p Planner) longest(at func(ctx int) (Work, error)) (int, error) {
	fits := func(n int) (bool, error) {
		w, err := at(n * unit)
		if errs.Code(err) == int(errs.Usage) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		return p.fits(w)
	}
	lo, hi := 0, 1
	for {
		ok, err := fits(hi)
		if err != nil {
			return 0, err
		}
		if !ok || hi*unit >= longestTried {
			break
		}
		lo, hi = hi, hi*2
	}
	for hi-lo > max(1, lo/256) {
		mid := (lo + hi) / 2
		ok, err := fits(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	if _, err := at(lo * unit); lo > 0 && errs.Code(err) == int(errs.Usage) {
		return 0, nil // all that fit are too short for the options
	}
	return lo * unit, nil
}
