package plan

import (
	"slices"

	"longlora/internal/errs"
	"longlora/internal/model"
)

// tiles lists the tile lengths to choose from.
func (p problem) tiles() []int {
	tiles := p.ownTiles()
	if b := p.beside; b != nil && p.Chain <= 1 && !slices.Contains(tiles, b.Tile) {
		tiles = append(tiles, b.Tile)
	}
	return tiles
}

// ownTiles are those that suit the work, the longest first.
func (p problem) ownTiles() []int {
	n := p.Ctx * p.Batch
	if p.Chain > 1 {
		return p.spanTiles(slices.Max(model.Spans(p.Desc, p.Spec, p.batch(n), p.Chain, true)))
	}
	if p.Forced.Tile > 0 {
		return []int{min(p.Forced.Tile, n)}
	}
	tiles := []int{n}
	if p.oneTile() {
		return tiles
	}
	if p.Kind != Step {
		return p.forwardTiles()
	}
	step := p.reach() // halos are shortest where tiles end with groups
	if step == unbounded {
		step = n
	}
	for t := step; t < n; t *= 2 {
		if t >= n/mostTiles {
			tiles = append(tiles, t)
		}
	}
	least := max(cpuLeastTile, n/mostTiles)
	if !p.OnHost {
		least = max(gpuLeastTile, n/mostTiles)
	}
	for t := step / 2; t >= least; t /= 2 {
		if t < n {
			tiles = append(tiles, t)
		}
	}
	return tiles
}

// spanTiles are those of a chain: the longest span, which is one tile, and what of it a layer works on at a time. That
// costs no operations, and less memory the shorter it is.
func (p problem) spanTiles(longest int) []int {
	if t := p.Forced.Tile; t > 0 {
		return []int{min(t, longest)}
	}
	tiles, most := []int{longest}, gpuStrip
	if p.OnHost {
		most = cpuStrip
	}
	for _, t := range []int{most, most / 8} {
		if t < longest {
			tiles = append(tiles, t)
		}
	}
	return tiles
}

// forwardTiles are the tiles of what only goes forward: long enough for the products, short enough that memory is the
// weights' and the cache's.
func (p problem) forwardTiles() []int {
	if p.OnHost {
		return []int{min(p.Ctx, cpuForwardTile)}
	}
	var tiles []int
	for t := gpuForwardTile; t >= gpuLeastTile; t /= 2 {
		if len(tiles) == 0 || t < p.Ctx {
			tiles = append(tiles, min(p.Ctx, t))
		}
	}
	return tiles
}

// Tiles of what only goes forward.
const (
	cpuForwardTile = 1024
	gpuForwardTile = 8192
)

// The longer of the two lengths of a strip that are tried.
const (
	cpuStrip = 1024
	gpuStrip = 32768
)

// Shorter tiles than these only lose time; so many more than these only make planning slow. More tiles times layers
// than mostCells are refused where the planner would not take such tiles itself; so many are counted in seconds.
const (
	cpuLeastTile = 128
	gpuLeastTile = 1024
	mostTiles    = 512
	mostCells    = 4096
)

// Pieces that keep the products efficient; more rows only cost memory. On a GPU a product of 8192 rows fills all
// multiprocessors many times over, and logits are held to half a GiB.
const (
	cpuMLPRows     = 512
	cpuHeadRows    = 256
	gpuMLPRows     = 8192
	gpuMLPLeast    = 2048
	gpuHeadRows    = 4096
	gpuForwardHead = 1024
	gpuLogitsBytes = 512 << 20
)

// mostPieces of a micro-batch are counted in seconds. Only beyond a million tokens would there be more; there pieces
// are longer, and still small beside all else.
const mostPieces = 4096

// pieces are the ways of cutting a tile's MLP, largest first, and the rows of logits.
func (p problem) pieces(t int) (mlp []int, head int) {
	rows := func(n int) int { return min(t, max(n, p.Ctx*p.Batch/mostPieces)) }
	if p.OnHost {
		return []int{rows(cpuMLPRows)}, rows(cpuHeadRows)
	}
	if p.Kind != Step {
		return []int{rows(gpuMLPRows)}, rows(gpuForwardHead)
	}
	mlp = []int{t}
	for _, r := range []int{gpuMLPRows, gpuMLPLeast} {
		if r < t {
			mlp = append(mlp, rows(r))
		}
	}
	for head = gpuHeadRows; head > 128 && 4*head*p.Desc.V > gpuLogitsBytes; {
		head /= 2
	}
	return mlp, rows(head)
}

// checkTile refuses a tile so short that planning takes minutes, and a step hours: time goes by the tile and the layer.
// What the planner would try itself is never too short.
func (p problem) checkTile() error {
	n, t, of, most := p.Ctx*p.Batch, p.Forced.Tile, "", max(1, mostCells/p.Desc.L)
	if p.Forced.Tile = 0; t == 0 || (n+t-1)/t <= most {
		return nil
	}
	own := p.ownTiles()
	if p.Chain > 1 {
		n, of = own[0], ", a process's part of a row"
	}
	tiles, least := (n+t-1)/t, min((n+most-1)/most, slices.Min(own))
	if t >= least {
		return nil
	}
	return errs.Usagef("%s %d: makes %d tiles of %d tokens%s, and of %d layers at most %d are planned; give %d or more, "+
		"or 0 for the planner's choice", errs.Option("tile"), t, tiles, n, of, p.Desc.L, most, least)
}
