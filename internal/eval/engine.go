package eval

import (
	"fmt"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
	"longlora/internal/ui"
)

// engine is one model in a backend's memory, loaded when it is first wanted and used at every length.
type engine struct {
	be      ops.Backend
	base    *load.Base
	train   model.Train
	machine machine.Machine
	limits  plan.Limits
	hostUse int64  // host bytes in use before anything was taken
	flag    string // the option that sets the length
	prompt  int    // tokens of the length that the option does not count

	model  *model.Model
	params *ops.Arena
}

func newEngine(be ops.Backend, base *load.Base, c *config.Common) (*engine, error) {
	e := &engine{be: be, base: base, flag: "--ctx", machine: machine.Here(be), train: base.Frozen()}
	var err error
	if e.hostUse, err = machine.RssAnon(); err != nil {
		return nil, err
	}
	e.limits, err = plan.LimitsOf(c, e.machine, e.hostUse)
	return e, err
}

func (e *engine) close() {
	if e.model != nil {
		_ = e.model.Release() // what fails here fails again, and is seen, where memory is next taken
	}
	if e.params != nil {
		e.params.Free(e.be)
	}
}

// need is what a length takes, in bytes.
type need struct {
	model.Tiling
	params, act, halo int64
	device, host      int64
}

// Tokens of a tile: long enough for the products, short enough that memory is the weights' and the cache's.
const (
	cpuTile   = 1024
	gpuTile   = 8192
	leastTile = 1024
)

// size counts what windows and sessions of n tokens take with tiles of at most t.
func (e *engine) size(n, t int, spec s2attn.Spec) (need, error) {
	d := e.base.Desc()
	s := need{Tiling: model.Tiling{Tile: min(n, t), MLPRows: 512, HeadRows: 256}}
	if !e.machine.OnHost {
		s.MLPRows, s.HeadRows = gpuTile, 1024
	}
	if spec.Mode == s2attn.Roll {
		s.Tile = n
	}
	s.MLPRows, s.HeadRows = min(s.Tile, s.MLPRows), min(s.Tile, s.HeadRows)
	c := ops.NewCounter(e.be.Act(), e.machine.Workspace, e.machine.Rates)
	params, act, halo := ops.CountingArena("parameters", ops.Device), ops.CountingArena("activations", ops.Device), ops.CountingArena("halos", ops.Host)
	shapes := map[string]tensor.Shape{}
	for _, x := range d.TensorShapes() {
		shapes[x.Name] = x.Shape
	}
	m, err := model.New(c, d, e.train, func(name string) (model.Raw, error) {
		return model.Raw{DType: e.base.WeightType(), Shape: shapes[name]}, nil
	}, params)
	if err != nil {
		return s, err
	}
	r := model.NewRunner(m, c, spec, model.Rope{Inv: make([]float32, d.D/2)}, s.Tiling, act, halo)
	r.Size(&model.Batch{IDs: make([]int32, n), Targets: make([]int32, n), Docs: []int32{0, int32(n)}}, false)
	r.NewSession(n).Close()
	s.params, s.act, s.halo = params.Peak(), act.Peak(), halo.Peak()
	s.device = s.params + s.act + c.Weights + e.machine.Workspace + e.machine.Context
	all, largest := e.base.Made()
	s.host = e.hostUse + s.halo + 12*int64(n)
	if e.machine.OnHost {
		s.host, s.device = s.host+s.params+s.act+e.machine.Workspace+all, 0
	} else {
		s.host += largest
	}
	return s, nil
}

// fit is the longest tile with which n tokens are within the limits; ok is false when none is.
func (e *engine) fit(n int, spec s2attn.Spec) (s need, ok bool, err error) {
	t := cpuTile
	if !e.machine.OnHost {
		t = gpuTile
	}
	for ; ; t /= 2 {
		if s, err = e.size(n, t, spec); err != nil {
			return s, false, err
		}
		if s.host <= e.limits.Host && (e.machine.OnHost || s.device <= e.limits.Device) {
			return s, true, nil
		}
		if t/2 < leastTile || spec.Mode == s2attn.Roll {
			return s, false, nil
		}
	}
}

// check is what n tokens take, or the error that says why they do not fit.
func (e *engine) check(n int, spec s2attn.Spec) (need, error) {
	s, ok, err := e.fit(n, spec)
	if err == nil && !ok {
		err = e.refuse(n, s, spec)
	}
	return s, err
}

// refuse says what n tokens need and how many would fit.
func (e *engine) refuse(n int, s need, spec s2attn.Spec) error {
	lo, hi := 0, n
	for hi-lo > max(1, lo/256) {
		mid := (lo + hi) / 2
		_, ok, err := e.fit(mid, spec)
		if err != nil {
			return err
		}
		if ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	needs, raise := fmt.Sprintf("%s of host memory, --host-mem allows %s", ui.Bytes(s.host), ui.Bytes(e.limits.Host)), "--host-mem"
	if !e.machine.OnHost {
		needs = fmt.Sprintf("%s of device memory, --device-mem allows %s, and %s", ui.Bytes(s.device), ui.Bytes(e.limits.Device), needs)
		raise = "--device-mem or --host-mem"
	}
	if lo == 0 {
		return errs.NoFitf("%s %d does not fit: it needs %s; no context fits, however short: raise %s", e.flag, n-e.prompt, needs, raise)
	}
	return errs.NoFitf("%s %d does not fit: it needs %s; the longest context that fits is %d. Lower %s or raise %s", e.flag, n-e.prompt, needs, lo, e.flag, raise)
}

// run takes the memory for sequences of n tokens and calls f with a runner in it.
func (e *engine) run(n int, spec s2attn.Spec, rp model.Rope, f func(*model.Runner) error) error {
	s, err := e.check(n, spec)
	if err != nil {
		return err
	}
	if e.model == nil {
		if e.params, err = ops.NewArena(e.be, "parameters", ops.Device, s.params); err != nil {
			return err
		}
		if e.model, err = e.base.New(e.be, e.train, e.params, 0); err != nil {
			return err
		}
	}
	act, err := ops.NewArena(e.be, "activations", ops.Device, s.act)
	if err != nil {
		return err
	}
	defer act.Free(e.be)
	halo, err := ops.NewArena(e.be, "halos", ops.Host, s.halo)
	if err != nil {
		return err
	}
	defer halo.Free(e.be)
	return f(model.NewRunner(e.model, e.be, spec, rp, s.Tiling, act, halo))
}
