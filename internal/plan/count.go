package plan

import (
	"math"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Count says what work takes when it is carried out as the tiling says, by running its own code on a counting backend
// and counting arenas.
func (p Planner) Count(w Work, tl model.Tiling) (Plan, error) {
	z, err := newCounted(problem{w, p})
	if err != nil {
		return Plan{}, err
	}
	return z.count(tl), nil
}

// counted is a problem whose model is made, on a backend that counts.
type counted struct {
	p         problem
	c         *ops.Counter
	m         *model.Model
	trained   [2]trained            // with all of it on the device, and with a part in host memory
	sizes     map[model.Tiling]Plan // memory of tilings of which no weight and no state waits in host memory
	known     [2]map[int]streamed   // by the number of streamed layers, and of sharded ones
	costs     map[costOf]ops.Cost   // of steps
	batch     *model.Batch
	row       *model.Batch // of one row, as scoring has it
	few, some *counted     // of a deep model: two of its beginnings
}

// costOf is what a cost was counted of: a tiling, and so many tokens.
type costOf struct {
	model.Tiling
	n int
}

// trained is what parameters take on the device and in host memory, in bytes, and what an update of them costs.
type trained struct {
	device, host int64
	optimizer    ops.Cost
}

// A model of more layers than deep is predicted from two of its beginnings: time grows evenly with the layers. Where
// nothing is copied beside the operations it does from the first layer on.
const (
	fewLayers  = 32
	someLayers = 64
	deep       = 128
	fewOnHost  = 2
	someOnHost = 4
	deepOnHost = 8
)

// beginnings are how many layers the two have; 0 of a model all of which is counted.
func (p problem) beginnings() (few, some int) {
	switch {
	case p.Kind != Step:
		return 0, 0
	case p.OnHost && p.Desc.Windows == nil && p.Desc.L > deepOnHost:
		return fewOnHost, someOnHost
	case p.Desc.L > deep:
		return fewLayers, someLayers
	}
	return 0, 0
}

// newCounted makes the model, and of a deep one the two beginnings.
func newCounted(p problem) (*counted, error) {
	z, err := newWhole(p)
	few, some := p.beginnings()
	if err != nil || few == 0 {
		return z, err
	}
	begins := func(layers int) (*counted, error) {
		q := p
		if q.Desc.L = layers; q.Desc.Windows != nil {
			q.Desc.Windows = q.Desc.Windows[:layers]
		}
		return newWhole(q)
	}
	if z.few, err = begins(few); err == nil {
		z.some, err = begins(some)
	}
	return z, err
}

func newWhole(p problem) (*counted, error) {
	z := &counted{p: p, sizes: map[model.Tiling]Plan{}, known: [2]map[int]streamed{{}, {}}, costs: map[costOf]ops.Cost{},
		c: ops.NewCounter(p.Machine.Act, p.Workspace, p.Rates), batch: p.batch(p.Ctx * p.Batch)}
	if z.row = z.batch; p.Batch > 1 {
		z.row = p.batch(p.Ctx)
	}
	var err error
	if z.m, err = z.make(z.c, false); err != nil || p.Kind != Step {
		return z, err
	}
	_, err = z.make(ops.NewCounter(p.Machine.Act, p.Workspace, p.Rates), true)
	return z, err
}

// make makes the model, and knows from then on what its parameters take and cost, with all of them on the device or
// with what of them may wait in host memory there.
func (z *counted) make(c *ops.Counter, wait bool) (*model.Model, error) {
	p, x := z.p, &z.trained[0]
	mem := model.Memory{Params: ops.CountingArena("parameters", ops.Device)}
	if p.Peers > 1 {
		mem.Parts = &model.Parts{N: p.Peers}
	}
	if wait {
		x, mem.State = &z.trained[1], ops.CountingArena("waiting state", ops.Host)
	}
	shapes := map[string]tensor.Shape{}
	for _, s := range p.Desc.Tensors() {
		shapes[s.Name] = s.Shape
	}
	m, err := model.New(c, p.Desc, p.Train, func(name string) (tensor.Stored, error) {
		return p.stored(name, shapes[name])
	}, mem)
	if err != nil {
		return nil, err
	}
	if x.device = mem.Params.Peak(); wait {
		x.host = mem.State.Peak()
	}
	if p.Kind != Step {
		return m, nil
	}
	c.Restart()
	m.Params.Occur(p.occurring())
	if p.Ranks > 1 {
		err = m.Params.Change(func(t ops.Tensor) error {
			c.Cost.Stalled += p.sum(t.Bytes())
			return nil
		})
	}
	if err == nil {
		_, err = m.Params.GradNorm()
	}
	m.Params.Update(ops.AdamW{}, 0)
	m.Params.ZeroGrad()
	x.optimizer = c.Restart()
	return m, err
}

// occurring are tokens to count a step's with: as many as all ranks have in a micro-batch, each another one, where
// there are as many. With more micro-batches most come again.
func (p problem) occurring() []int32 {
	rows := max(1, p.Ranks) / max(1, p.Chain) * p.Batch
	ids := make([]int32, min(p.Desc.V, p.Ctx*rows))
	for i := range ids {
		ids[i] = int32(i)
	}
	return ids
}

// trains is what the parameters of a tiling take and cost.
func (z *counted) trains(tl model.Tiling) trained {
	if tl.HostState {
		return z.trained[1]
	}
	return z.trained[0]
}

// stored is a tensor to count. What the device does not compute with is refused.
func (p problem) stored(name string, s tensor.Shape) (tensor.Stored, error) {
	f := p.Weight(name)
	if !f.Dense() && p.Machine.Act != tensor.F32 && (name == p.Desc.EmbedName() || name == p.Desc.HeadName()) {
		return tensor.Stored{}, errs.Usagef("tensor %s is stored as %s, and a GPU computes with codes in linear layers of "+
			"the blocks alone; use %s cpu, or give the 16-bit checkpoint that it was made from", name, f, errs.Option("device"))
	}
	return tensor.Stored{Format: f, Shape: s}, nil
}

// runner runs steps that take memory from counting arenas.
func (z *counted) runner(spec s2attn.Spec, tl model.Tiling, act, host *ops.Arena) *model.Runner {
	r := model.NewRunner(z.m, z.c, spec, model.Rope{Inv: make([]float32, z.p.Desc.RotaryDim()/2)}, tl, act, host)
	r.Worst, r.Division = z.p.Cuts, z.division()
	return r
}

// pageEntries is how many bytes of page-locked host memory one byte of the device's page tables stands for: an entry of
// 8 bytes for a page of 4 KiB. The driver takes them when the memory is locked.
const pageEntries = 512

// streamed is what the weights of layers take that are not resident, in bytes.
type streamed struct {
	away  int64 // where they lie: in host memory, or as one process's part on its device
	slots int64
}

// stream is what those of n layers take that are streamed.
func (z *counted) stream(n int) streamed { return z.knownOr(0, n, z.m.StreamBytes) }

// shard is what those of n layers take that are sharded.
func (z *counted) shard(n int) streamed { return z.knownOr(1, n, z.m.ShardBytes) }

func (z *counted) knownOr(kind, n int, count func(n int) (away, slots int64)) streamed {
	s, known := z.known[kind][n]
	if !known {
		s.away, s.slots = count(n)
		z.known[kind][n] = s
	}
	return s
}

// size is the plan's memory alone.
func (z *counted) size(tl model.Tiling) Plan {
	s, d, whole := z.stream(tl.Stream), z.shard(tl.Shard), tl
	whole.Stream, whole.Shard, whole.HostState = 0, 0, false
	pl, known := z.sizes[whole]
	if !known {
		pl = z.passes(whole)
		z.sizes[whole] = pl
	}
	pl.Stream, pl.Weights, pl.Slots, pl.Streamed = tl.Stream, z.c.Weights-s.away, s.slots, s.away
	if pl.Shard = tl.Shard; tl.Shard > 0 {
		pl.Weights, pl.Slots, pl.Shared = z.c.Weights-z.stream(tl.Shard).away, d.slots, d.away
	}
	x := z.trains(tl)
	pl.HostState, pl.Params, pl.State, pl.Optimizer = tl.HostState, x.device, x.host, x.optimizer
	p := z.p
	if !p.OnHost {
		pl.Context += (pl.Halo + pl.MovedBytes + pl.Streamed + pl.State) / pageEntries
	}
	pl.Device = pl.Params + pl.Act + pl.Workspace + pl.Context + pl.Weights + pl.Slots + pl.Shared
	pl.Host = pl.Halo + pl.MovedBytes + pl.Streamed + pl.State + pl.IDs + pl.Made + pl.Base
	if p.OnHost { // all memory is host memory; frozen weights are mapped pages, reported apart
		pl.Host += pl.Params + pl.Act + pl.Workspace + pl.Slots + pl.Shared
		pl.Device, pl.Weights = 0, pl.Weights-z.madeHere(tl)
	}
	return pl
}

// passes is what the passes of a tiling take, and what is the same for all tilings.
func (z *counted) passes(tl model.Tiling) Plan {
	p := z.p
	arena := ops.SizingArena
	if p.Kind == Session { // which is taken to be used
		arena = ops.CountingArena
	}
	act, host := arena("activations", ops.Device), arena("halos", ops.Host)
	r := z.runner(p.Spec, tl, act, host)
	scorers := make([]*model.Runner, len(p.Score))
	for i, spec := range p.Score {
		scorers[i] = z.runner(spec, tl, act, host)
	}
	switch p.Kind {
	case Step:
		r.Size(z.batch, true)
		for _, q := range scorers {
			q.Size(z.row, false)
		}
	case Score:
		r.Size(z.row, false)
	case Session:
		r.NewSession(p.Ctx).Close()
	}
	pl := Plan{Tiling: tl, Act: act.Peak(), MovedBytes: r.MovedBytes(), Workspace: p.Workspace, Context: p.Context,
		Made: p.Made, IDs: p.IDs, Base: p.Base, Trainable: z.m.Params.Count()}
	pl.Halo = host.Peak() - pl.MovedBytes
	return pl
}

// count is size with the operations.
func (z *counted) count(tl model.Tiling) Plan {
	pl := z.size(tl)
	pl.Cost = z.cost(tl, z.batch)
	return pl
}

// cost is what one micro-batch amounts to.
func (z *counted) cost(tl model.Tiling, b *model.Batch) ops.Cost {
	tl.HostState = false // which costs the update alone
	of := costOf{tl, b.N()}
	if c, ok := z.costs[of]; ok {
		return c
	}
	r := z.runner(z.p.Spec, tl, ops.CountingArena("activations", ops.Device), ops.CountingArena("halos", ops.Host))
	z.c.Restart()
	r.Step(b, 1)
	c := z.c.Restart()
	z.costs[of] = c
	return c
}

// Stretches of whole tiles and at least a group or window that a prediction is made from where there are more of them:
// from the second on their time grows evenly, but under full attention.
const (
	fewStretches  = 2
	someStretches = 4
)

// seconds predicts a micro-batch. Of a long one a part is counted, and so of a deep model whose layers are all alike.
func (z *counted) seconds(tl model.Tiling) float64 {
	if z.few != nil && tl.More == 0 && tl.Moved == 0 && tl.Stream == 0 && tl.Shard == 0 {
		few, some := z.few.seconds(tl), z.some.seconds(tl)
		l, more := z.some.p.Desc.L, z.some.p.Desc.L-z.few.p.Desc.L
		return some + float64(z.p.Desc.L-l)/float64(more)*(some-few)
	}
	n, reach := z.batch.N(), z.p.reach()
	if z.p.Chain > 1 {
		return z.p.Rates.Seconds(z.cost(tl, z.batch))
	}
	part := (max(tl.Tile, min(reach, n)) + tl.Tile - 1) / tl.Tile * tl.Tile
	if n <= someStretches*part {
		return z.p.Rates.Seconds(z.cost(tl, z.batch))
	}
	few := z.p.Rates.Seconds(z.cost(tl, z.p.batch(fewStretches*part)))
	some := z.p.Rates.Seconds(z.cost(tl, z.p.batch(someStretches*part)))
	return some + float64(n-someStretches*part)/float64(part)*(some-few)/(someStretches-fewStretches)
}

// unbounded is the reach of a layer in which a query sees all of its document before it.
const unbounded = math.MaxInt

// reach is the most tokens that a query sees in any layer, itself among them: a group or a window, or unbounded.
func (p problem) reach() int {
	most := 0
	for l := range p.Desc.L {
		s := p.Desc.Attends(l, p.Spec)
		if s.Whole() {
			return unbounded
		}
		most = max(most, s.Reach())
	}
	return most
}

// batch is a batch of n tokens in rows of the problem's length. Contents do not matter to what it takes.
func (p problem) batch(n int) *model.Batch {
	b := &model.Batch{Targets: []int32{}}
	for i := 0; i < n; i += p.Ctx {
		b.Docs = append(b.Docs, int32(i))
	}
	b.Docs = append(b.Docs, int32(n))
	if p.Train.Drop > 0 {
		b.Keys = []uint64{}
	}
	return b
}
