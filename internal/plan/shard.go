package plan

import (
	"sort"

	"longlora/internal/errs"
	"longlora/internal/model"
)

// shards are the numbers of sharded layers to choose from: none and, where nothing fits otherwise, all, or fewer.
func (z *counted) shards() []int {
	switch n := z.p.Forced.Shard; {
	case n != nil:
		return []int{*n}
	case z.p.OnHost || z.p.Peers < 2 || z.stream(z.p.Desc.L).away == 0:
		return []int{0}
	}
	return []int{0, z.p.Desc.L}
}

// places are where the frozen weights of layers can lie besides on the device: numbers of streamed and of sharded ones,
// of which one is none.
func (z *counted) places(streams, shards []int) (out [][2]int) {
	for _, n := range shards {
		if n > 0 {
			out = append(out, [2]int{0, n})
			continue
		}
		for _, m := range streams {
			out = append(out, [2]int{m, 0})
		}
	}
	return out
}

// leastStreamed is the fewest layers that are to be streamed for a tiling to fit the device; all where it never does.
func (z *counted) leastStreamed(tl model.Tiling) int {
	return sort.Search(z.p.Desc.L, func(n int) bool {
		tl.Stream = n
		return z.p.onDevice(z.size(tl))
	})
}

// leastSharded is the same of layers that are sharded.
func (z *counted) leastSharded(tl model.Tiling) int {
	tl.Stream = 0
	return sort.Search(z.p.Desc.L, func(n int) bool {
		tl.Shard = n
		return z.p.onDevice(z.size(tl))
	})
}

// madeHere is what loading makes of the matrices that are resident: of sharded layers, which are all alike, none is.
func (z *counted) madeHere(tl model.Tiling) int64 {
	made, all := z.p.Made, z.stream(z.p.Desc.L).away
	if tl.Shard == 0 || all == 0 {
		return made
	}
	return made - int64(float64(made)*float64(z.stream(tl.Shard).away)/float64(all))
}

// Alone says why there is nobody to divide weights with.
func (p Work) Alone() string {
	if p.Apart != "" {
		return p.Apart
	}
	return "here is one: start several with " + errs.Option("gpus").String()
}

// sum is the seconds that the ranks take to add up so many bytes over the links between the cards of one machine: of
// each byte a ring carries 2·(n-1)/n. Processes on a CPU copy through its memory, which is not counted.
func (p problem) sum(bytes int64) float64 {
	n := float64(p.Ranks)
	if p.OnHost || n < 2 {
		return 0
	}
	return 2 * (n - 1) / n * float64(bytes) / p.Rates.OfLink()
}
