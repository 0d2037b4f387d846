package plan

import (
	"fmt"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/s2attn"
)

// tiles lists the tile lengths to choose from, the longest first.
func (p Problem) tiles() []int {
	n := p.Ctx * p.Batch
	if p.Forced > 0 {
		return []int{min(p.Forced, n)}
	}
	tiles := []int{n}
	if p.Spec.Mode == s2attn.Roll {
		return tiles
	}
	step := p.Spec.Group // halos are shortest where tiles end with groups
	if p.Spec.Mode == s2attn.Full {
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

// Shorter tiles than these only lose time; so many more than these only make planning slow.
const (
	cpuLeastTile = 128
	gpuLeastTile = 1024
	mostTiles    = 512
)

// Pieces that keep the products efficient; more rows only cost memory. On a GPU a product of 8192 rows fills all
// multiprocessors many times over, and logits are held to half a GiB.
const (
	cpuMLPRows     = 512
	cpuHeadRows    = 256
	gpuMLPRows     = 8192
	gpuMLPLeast    = 2048
	gpuHeadRows    = 4096
	gpuLogitsBytes = 512 << 20
)

// pieces are the ways of cutting a tile's MLP, largest first, and the rows of logits.
func (p Problem) pieces(t int) (mlp []int, head int) {
	if p.OnHost {
		return []int{min(t, cpuMLPRows)}, min(t, cpuHeadRows)
	}
	mlp = []int{t}
	for _, r := range []int{gpuMLPRows, gpuMLPLeast} {
		if r < t {
			mlp = append(mlp, r)
		}
	}
	for head = gpuHeadRows; head > 128 && 4*head*p.Desc.V > gpuLogitsBytes; {
		head /= 2
	}
	return mlp, min(t, head)
}

// fits reports whether a plan is within the limits.
func (p Problem) fits(pl Plan, lim Limits) bool {
	return pl.Host <= lim.Host && (p.OnHost || pl.Device <= lim.Device)
}

// Choose picks the way with the least predicted time that fits. When none does the error, of kind NoFit, says
// what the smallest needs.
func Choose(p Problem, lim Limits) (Plan, error) {
	var best Plan
	found := false
	for _, t := range p.tiles() {
		mlp, head := p.pieces(t)
		for _, rows := range mlp {
			for _, keep := range []model.Keep{model.KeepAll, model.KeepAttn, model.KeepInput} {
				pl, ok, err := p.most(model.Tiling{Tile: t, Keep: keep, MLPRows: rows, HeadRows: head}, lim)
				if err != nil {
					return Plan{}, err
				}
				if ok && (!found || pl.Seconds(p.Rates, 1) < best.Seconds(p.Rates, 1)) {
					best, found = pl, true
				}
				if ok {
					break // what keeps less takes longer
				}
			}
		}
	}
	if found {
		return best, nil
	}
	least, err := p.least()
	if err != nil {
		return Plan{}, err
	}
	return least, errs.NoFitf("%s", p.refusal(least, lim))
}

// most gives as many layers as fit the next larger part to keep. It is not ok when not even none does.
func (p Problem) most(tl model.Tiling, lim Limits) (pl Plan, ok bool, err error) {
	if pl, err = size(p, tl); err != nil || !p.fits(pl, lim) {
		return pl, false, err
	}
	layers := p.Desc.L - 1 // the last one keeps what it can in any case
	if tl.Keep == model.KeepAll || layers < 1 {
		pl, err = Count(p, tl)
		return pl, err == nil, err
	}
	more := tl
	more.More = 1
	one, err := size(p, more)
	if err != nil {
		return pl, false, err
	}
	each, left := one.Device-pl.Device, lim.Device-pl.Device
	if p.OnHost {
		each, left = one.Host-pl.Host, lim.Host-pl.Host
	}
	// With all layers it is the next policy, which is counted by itself.
	tl.More = int(min(int64(layers-1), left/max(each, 1)))
	pl, err = Count(p, tl)
	return pl, err == nil && p.fits(pl, lim), err
}

// least is the plan that needs the least memory.
func (p Problem) least() (Plan, error) {
	var least Plan
	for i, t := range p.tiles() {
		mlp, head := p.pieces(t)
		pl, err := size(p, model.Tiling{Tile: t, Keep: model.KeepInput, MLPRows: mlp[len(mlp)-1], HeadRows: head})
		if err != nil {
			return Plan{}, err
		}
		if i == 0 || pl.Host+pl.Device < least.Host+least.Device {
			least = pl
		}
	}
	return Count(p, least.Tiling)
}

func (p Problem) refusal(least Plan, lim Limits) string {
	s := fmt.Sprintf("--ctx %d does not fit: the smallest plan (tile %d, keeping %s) needs %s of host memory",
		p.Ctx, least.Tile, least.Kept(), Bytes(least.Host))
	if !p.OnHost {
		s += fmt.Sprintf(" and %s of device memory", Bytes(least.Device))
	}
	s += fmt.Sprintf("; --host-mem allows %s", Bytes(lim.Host))
	if !p.OnHost {
		s += fmt.Sprintf(", --device-mem %s", Bytes(lim.Device))
	}
	return s
}

// anyFits reports whether some way of carrying the step out fits.
func (p Problem) anyFits(lim Limits) (bool, error) {
	for _, t := range p.tiles() {
		mlp, head := p.pieces(t)
		pl, err := size(p, model.Tiling{Tile: t, Keep: model.KeepInput, MLPRows: mlp[len(mlp)-1], HeadRows: head})
		if err != nil || p.fits(pl, lim) {
			return err == nil, err
		}
	}
	return false, nil
}

// MaxCtx is the longest context that fits, found by doubling and halving, to within 1/256; 0 when not even 64 tokens
// do. prob makes the problem for a context; one that is too short for the group asked for says nothing about memory.
func MaxCtx(prob func(ctx int) (Problem, error), lim Limits) (int, error) {
	const unit = 64 // contexts are tried in these steps
	fits := func(n int) (bool, error) {
		p, err := prob(n * unit)
		if errs.Code(err) == int(errs.Usage) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		return p.anyFits(lim)
	}
	lo, hi := 0, 1
	for {
		ok, err := fits(hi)
		if err != nil {
			return 0, err
		}
		if !ok || hi*unit >= 1<<27 {
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
	return lo * unit, nil
}
