package plan

import (
	"slices"
	"sort"

	"longlora/internal/model"
)

// keeps are the policies to choose from, the one that keeps most first.
func (p problem) keeps() []model.Keep {
	if p.Kind != Step {
		return []model.Keep{model.KeepAll}
	}
	all := []model.Keep{model.KeepAll, model.KeepAttn, model.KeepOut, model.KeepInput}
	for _, k := range all {
		if k.String() == p.Forced.Keep {
			return []model.Keep{k}
		}
	}
	return all
}

// moves are the numbers of moved layers to choose from. Where all memory is the host's, moving frees none.
func (p problem) moves() []int {
	most := model.MostMoved(p.Desc.L)
	if p.Forced.Moved != nil {
		return []int{*p.Forced.Moved}
	}
	n := []int{0}
	if !p.OnHost && p.Kind == Step && most > 0 {
		for i := 1; i < most; i += max(1, most/someMoves) {
			n = append(n, i)
		}
		n = append(n, most)
	}
	return n
}

// streams are the numbers of streamed layers to choose from, the fewest first: some of them between none and all. Where
// none of these fits another may.
func (z *counted) streams() []int {
	L := z.p.Desc.L
	switch n := z.p.Forced.Stream; {
	case z.p.OnHost || z.stream(L).away == 0: // which frees nothing
		return []int{0}
	case n != nil:
		return []int{*n}
	}
	n := []int{0}
	for i := 1; i <= someStreams; i++ {
		if k := i * L / someStreams; k > n[len(n)-1] {
			n = append(n, k)
		}
	}
	return n
}

// leastState is what is worth waiting in host memory, in bytes.
const leastState = 256 << 20

// states are the places of trained matrices' state to choose from: on the device, and in host memory.
func (z *counted) states() []bool {
	switch f := z.p.Forced.HostState; {
	case z.p.OnHost || z.p.Kind != Step:
		return []bool{false}
	case f != nil:
		return []bool{*f}
	case z.trained[1].host < leastState:
		return []bool{false}
	}
	return []bool{false, true}
}

// someStreams is how many numbers of streamed layers are tried besides none.
const someStreams = 4

// someMoves is about how many numbers of moved layers are tried: counting a plan takes time by the layer.
const someMoves = 64

// candidate is a plan that fits, with the least time that it can take.
type candidate struct {
	model.Tiling
	least float64 // seconds, without any wait for copies beside the operations
	moved float64 // seconds that those copies take in the direction in which there are more
}

// bound is what counts against the plan at least: nothing is faster than its operations, nor than its copies.
func (c *candidate) bound() float64 { return max(c.least, c.moved) + copying*c.moved }

// choose picks the plan of the least predicted time within the limits. What does not fit is an error of kind NoFit,
// beside the plan of the least memory.
func (p Planner) choose(w Work) (Plan, error) {
	pl, _, err := p.chooseTwo(w)
	return pl, err
}

// copying is the share of their time by which copies that nothing waits for still count against a plan: they take
// memory's bandwidth, and page-locked memory takes time to get.
const copying = 0.05

// chooseTwo is choose that returns besides the best plan the best one of another kind: another tile, another policy, or
// with layers moved or streamed instead of none. It has no tile where there is none.
func (p Planner) chooseTwo(w Work) (best, next Plan, err error) {
	c, err := p.choosing(w)
	if err != nil {
		return best, next, err
	}
	return c.within(p.Limits)
}

// choosing is work whose plan is chosen, within one pair of limits or several: what was counted once is known.
type choosing struct {
	w    Work
	z    *counted  // of the work; of its first steps, where the last ones attend in another way
	last *choosing // of those; nil where all are alike
}

// choosing makes the models that plans are counted on.
func (p Planner) choosing(w Work) (*choosing, error) {
	c, err := &choosing{w: w}, error(nil)
	if w.Last != nil {
		if c.last, err = p.choosing(w.AsLast()); err != nil {
			return nil, err
		}
		w.Last = nil
	}
	first := problem{w, p}
	if err := first.checkForced(); err != nil {
		return nil, err
	}
	c.z, err = newCounted(first)
	return c, err
}

// within is chooseTwo within limits.
func (c *choosing) within(lim Limits) (best, next Plan, err error) {
	if c.last != nil {
		return c.both(lim)
	}
	return c.z.two(lim, nil)
}

// two is chooseTwo of work whose steps are all alike, in a room in which the plan beside fits too, where there is one.
func (z *counted) two(lim Limits, beside *Plan) (best, next Plan, err error) {
	z.p.Limits, z.p.beside = lim, beside
	if z.p.Kind != Step {
		best, err = z.forward()
		return best, next, err
	}
	all := z.candidates()
	if len(all) == 0 {
		return z.none()
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].bound() < all[j].bound() })
	var first, second *candidate
	var t1, t2 float64
	for i := range all {
		c := &all[i]
		if second != nil && c.bound() >= t2 {
			break
		}
		switch t := z.seconds(c.Tiling) + z.updates(c.Tiling) + copying*c.moved; {
		case first == nil || t < t1:
			if first != nil && kind(first) != kind(c) {
				second, t2 = first, t1
			}
			first, t1 = c, t
		case kind(first) != kind(c) && (second == nil || t < t2):
			second, t2 = c, t
		}
	}
	if second != nil {
		next = z.count(second.Tiling)
	}
	return z.count(first.Tiling), next, nil
}

// kind tells plans apart that are worth comparing.
func kind(c *candidate) [5]int {
	return [5]int{c.Tile, int(c.Keep), min(c.Moved, 1), min(c.Stream, 1), min(c.Shard, 1)}
}

// candidates are the plans that fit: for every tile, policy and numbers of moved and streamed layers the one in which
// as many layers as there is room for keep more, with the MLP in the largest pieces that fit.
func (z *counted) candidates() []candidate {
	shards := z.shards()
	out := z.candidatesOf(shards[:1])
	if len(out) == 0 && len(shards) > 1 { // what is divided among cards is what fits nowhere else
		out = z.candidatesOf(shards[1:])
	}
	return out
}

// candidatesOf are those of these numbers of sharded layers.
func (z *counted) candidatesOf(shards []int) []candidate {
	var out []candidate
	for _, t := range z.p.tiles() {
		mlp, head := z.p.pieces(t)
		seconds := map[model.Keep]float64{} // of plans that move and stream nothing
		for _, keep := range z.p.keeps() {
			for _, moved := range z.p.moves() {
				tl := model.Tiling{Tile: t, Keep: keep, Moved: moved, HeadRows: head}
				for _, tl := range z.waiting(tl, mlp, shards) {
					if !slices.ContainsFunc(out, func(c candidate) bool { return serves(c.Tiling, tl) }) {
						out = append(out, z.candidate(tl, seconds))
					}
				}
			}
		}
	}
	return out
}

// serves reports whether a plan does all that another one does with no more of it elsewhere. Of what lies elsewhere
// more is never quicker: it is worth counting only where more fits by it.
func serves(is, other model.Tiling) bool {
	return is.Tile == other.Tile && is.Keep == other.Keep && is.More >= other.More && is.MLPRows >= other.MLPRows &&
		is.Moved <= other.Moved && is.Stream <= other.Stream && is.Shard <= other.Shard &&
		(other.HostState || !is.HostState)
}

// waiting are a tiling's plans by what of the weights and of what is trained lies elsewhere.
func (z *counted) waiting(tl model.Tiling, mlp, shards []int) (out []model.Tiling) {
	for _, tl.HostState = range z.states() {
		tl.MLPRows = mlp[len(mlp)-1]
		streams, shards := z.streams(), slices.Clone(shards)
		if n := z.leastStreamed(tl); z.p.Forced.Stream == nil && len(streams) > 1 && !slices.Contains(streams, n) {
			streams = append(streams, n)
			slices.Sort(streams)
		}
		if z.p.Forced.Shard == nil && shards[0] > 0 {
			shards = slices.Compact([]int{z.leastSharded(tl), shards[0]})
		}
		for _, n := range z.places(streams, shards) {
			tl := tl
			tl.Stream, tl.Shard = n[0], n[1]
			if tl, fits := z.fitted(tl, mlp); fits {
				out = append(out, tl)
			}
		}
	}
	return out
}

// fitted is a tiling with its MLP in the largest pieces that fit, and then with as many layers as fit keeping more.
func (z *counted) fitted(tl model.Tiling, mlp []int) (_ model.Tiling, fits bool) {
	for _, tl.MLPRows = range mlp {
		if pl := z.size(tl); z.p.Allows(pl) {
			tl.More = z.more(pl)
			return tl, true
		}
	}
	return tl, false
}

// more is how many layers can keep more than in a plan that fits. With all it is the next policy, which is counted by
// itself. What one layer more takes mostly tells how many there is room for.
func (z *counted) more(none Plan) int {
	tl, most := none.Tiling, max(0, z.p.Desc.L-2)
	if tl.Keep == model.KeepAll || z.p.Forced.Keep != "" || most == 0 {
		return 0
	}
	with := func(layers int) Plan {
		tl.More = layers
		return z.size(tl)
	}
	fits := func(layers int) bool { return layers <= most && z.p.Allows(with(layers)) }
	one, guess := with(1), int64(most)
	for _, m := range []struct{ limit, none, one int64 }{
		{z.p.Limits.Device, none.Device, one.Device}, {z.p.Limits.Host, none.Host, one.Host}} {
		if m.one > m.none {
			guess = min(guess, (m.limit-m.none)/(m.one-m.none))
		}
	}
	if n := int(guess); n >= 0 && (n == 0 || fits(n)) && !fits(n+1) {
		return n
	}
	return sort.Search(most, func(i int) bool { return !fits(i + 1) })
}

// updates predicts the optimizer's part of a step.
func (z *counted) updates(tl model.Tiling) float64 { return z.p.Rates.Seconds(z.trains(tl).optimizer) }

// candidate adds what the tiling takes at least. Time grows evenly with the layers that keep less.
func (z *counted) candidate(tl model.Tiling, known map[model.Keep]float64) candidate {
	at := func(k model.Keep) float64 {
		s, ok := known[k]
		if !ok {
			s = z.seconds(model.Tiling{Tile: tl.Tile, Keep: k, MLPRows: tl.MLPRows, HeadRows: tl.HeadRows})
			known[k] = s
		}
		return s
	}
	c := candidate{Tiling: tl, least: at(tl.Keep)}
	if tl.More > 0 {
		c.least -= float64(tl.More) / float64(z.p.Desc.L-1) * (at(tl.Keep) - at(tl.Keep-1))
	}
	c.least += z.updates(tl)
	if tl.Moved > 0 || tl.Stream > 0 || tl.Shard > 0 || tl.HostState {
		tiles, pl := (z.batch.N()+tl.Tile-1)/tl.Tile, z.size(tl)
		if z.p.Chain > 1 { // a layer at a time
			tiles = 1
		}
		// Each tile's way forward and back needs all streamed layers but those that lie in the slots, and so does each way
		// forward before.
		ways := 2*tiles + tiles - 1
		moved, r := float64(pl.MovedBytes)*float64(tiles)+pl.Optimizer.Brought, z.p.Rates
		if tl.Shard > 0 { // of each layer all parts but this process's own
			others := float64(pl.Shared*int64(z.p.Peers)-pl.Slots) * float64(z.p.Peers-1) / float64(z.p.Peers)
			c.moved = max(0, others) * float64(ways) / r.OfLink()
		} else {
			moved += float64(pl.Streamed-pl.Slots) * float64(ways)
		}
		c.moved = max(c.moved, moved/r.Moved)
	}
	return c
}

// forward is the plan of what only goes forward: a tile that is longer takes no longer, so the longest that fits. Where
// weights must be streamed, as few layers as fit; a session's tokens read all weights each, so there the fewest of any
// tile.
func (z *counted) forward() (Plan, error) {
	all := z.smallest()
	for _, tl := range all {
		if pl := z.size(tl); tl.Stream == z.streams()[0] && z.p.Allows(pl) {
			return pl, nil
		}
	}
	var fewest Plan
	for _, tl := range all {
		if z.p.Forced.Stream != nil {
			break
		}
		tl.Stream = z.leastStreamed(tl)
		pl := z.size(tl)
		if better := fewest.Tile == 0 || z.p.Kind == Session && pl.Stream < fewest.Stream; better && z.p.Allows(pl) {
			fewest = pl
		}
	}
	if fewest.Tile > 0 {
		return fewest, nil
	}
	least, _, err := z.none()
	return least, err
}
