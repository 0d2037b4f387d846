package plan

import (
	"fmt"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/rope"
	"longlora/internal/s2attn"
	"longlora/internal/ui"
)

// Planned is what plan prints: bench's keys but the measured ones, the prediction, and where every byte goes.
type Planned struct {
	Shape      string  `json:"shape"`
	Ctx        int     `json:"ctx"`
	Group      int     `json:"group"`
	Tile       int     `json:"tile"`
	Device     string  `json:"device"`
	DType      string  `json:"dtype"`
	DevicePlan int64   `json:"device_plan_bytes"`
	HostPlan   int64   `json:"host_plan_bytes"`
	PredictedS float64 `json:"predicted_s"`
	Fits       bool    `json:"fits"`
	MaxCtx     *int    `json:"max_ctx,omitempty"`
	Command    string  `json:"fits_with,omitempty"` // the command line that fits, where this one does not

	Chip        string     `json:"chip"`
	Keep        model.Keep `json:"keep"`
	More        int        `json:"more"`       // layers that keep the next larger part
	Moved       int        `json:"moved"`      // layers whose kept part waits in host memory
	Stream      int        `json:"stream"`     // layers whose frozen weights wait in host memory
	Shard       int        `json:"shard"`      // layers whose frozen weights are divided among processes
	HostState   bool       `json:"host_state"` // trained matrices' state waits there
	MLPRows     int        `json:"mlp_rows"`
	HeadRows    int        `json:"head_rows"`
	Trainable   int64      `json:"trainable"`
	Params      int64      `json:"params_bytes"`
	Act         int64      `json:"act_bytes"`
	Halo        int64      `json:"halo_bytes"`
	MovedBytes  int64      `json:"moved_bytes"`
	Workspace   int64      `json:"workspace_bytes"`
	Context     int64      `json:"context_bytes"`
	Weights     int64      `json:"weights_bytes"`
	Slots       int64      `json:"slots_bytes"`
	Shared      int64      `json:"shared_bytes"` // of sharded weights, this process's part
	Streamed    int64      `json:"streamed_bytes"`
	State       int64      `json:"state_bytes"`
	IDs         int64      `json:"ids_bytes"`
	Made        int64      `json:"made_bytes,omitempty"`
	Base        int64      `json:"base_bytes"`
	DeviceLimit int64      `json:"device_limit_bytes"`
	HostLimit   int64      `json:"host_limit_bytes"`

	Next        string  `json:"next_best,omitempty"` // the best plan of another kind
	NextS       float64 `json:"next_best_s,omitempty"`
	MoreDevice  string  `json:"more_device_plan,omitempty"` // what half as much device memory again would buy
	MoreDeviceS float64 `json:"more_device_s,omitempty"`
	MoreHost    string  `json:"more_host_plan,omitempty"` // the same for host memory
	MoreHostS   float64 `json:"more_host_s,omitempty"`

	Divisions []Division     `json:"divisions,omitempty"` // of a step among processes, the quickest first
	LinkBps   float64        `json:"link_bytes_per_s,omitempty"`
	Link      machine.Source `json:"link,omitempty"` // where that comes from

	TokPerS float64        `json:"predicted_tok_per_s"`
	Steps   int            `json:"steps,omitempty"`           // where options count them
	RunS    float64        `json:"predicted_run_s,omitempty"` // of all of them
	Rates   machine.Source `json:"rates"`                     // where those that times are predicted with come from

	Attn string `json:"attn"` // of the steps, or of all but the last ones
	*PlannedLast

	positions string
	windows   string
	notes     []string // lines that begin with what they are
	rows      int      // of a step
	ranks     int      // processes that share them
	chain     int      // of those, which divide each row
	batch     int      // of a micro-batch
	onHost    bool
	sought    bool // the longest context was asked for
	// the host memory's limit is what is here, of which another machine has more or less
	hostAssumed bool
	refusal     error
	advised     errs.Advice
}

// Options are what is planned for, and within which memory.
type Options struct {
	Training
	Memory    Memory
	Model     string // a folder or a name; "" where Shape is given
	Shape     string
	Window    *s2attn.Choice // nil: as beside the adapter, or as the model has them
	Positions rope.Request   // but for the context
	MaxCtx    bool           // look for the longest context that fits
	CtxGiven  bool           // else the longest context is planned for
	Overview  bool           // one of several: nothing is compared with it
}

// PlannedLast is what plan prints besides of a run's last steps, where they alone attend fully. Bytes elsewhere are
// then room for both.
type PlannedLast struct {
	Tile       int        `json:"full_tile"`
	Keep       model.Keep `json:"full_keep"`
	More       int        `json:"full_more"`
	Moved      int        `json:"full_moved"`
	Stream     int        `json:"full_stream"`
	Shard      int        `json:"full_shard"`
	HostState  bool       `json:"full_host_state"`
	MLPRows    int        `json:"full_mlp_rows"`
	HeadRows   int        `json:"full_head_rows"`
	DevicePlan int64      `json:"full_device_plan_bytes"`
	HostPlan   int64      `json:"full_host_plan_bytes"`
	PredictedS float64    `json:"full_predicted_s"`

	when string
}

// NewPlannedLast says it of a plan; nil where it has no last steps.
func NewPlannedLast(w Work, pl Plan, r ops.Rates, accum int) *PlannedLast {
	l := pl.Last
	if l == nil {
		return nil
	}
	return &PlannedLast{Tile: l.Tile, Keep: l.Keep, More: l.More, Moved: l.Moved, Stream: l.Stream, Shard: l.Shard,
		HostState: l.HostState, MLPRows: l.MLPRows, HeadRows: l.HeadRows,
		DevicePlan: l.Device, HostPlan: l.Host, PredictedS: l.Seconds(r, accum), when: w.Last.When}
}

// Run says what a step would need and take on a machine. One that does not fit is a Planned with Fits false; see
// Refusal.
func Run(c Options, m machine.Machine) (*Planned, error) {
	s, err := newSubject(c)
	if err != nil {
		return nil, err
	}
	products, err := load.CheckProducts(c.Products, s.held(c), &m)
	if err != nil {
		return nil, err
	}
	p, err := Here(c.Memory, m)
	if err != nil {
		return nil, err
	}
	peers := c.Peers
	if c.Peers > 1 && !m.IsHere() && m.Rates.Link == 0 {
		c.Peers, c.Apart = 1, "cards of this kind can not read each other's memory"
	}
	r := s.request(c.Training, m.OnHost)
	w, longest, err := c.work(&r, p)
	if err != nil {
		return nil, err
	}
	positions, notes, err := s.check(c, r.Ctx)
	if err != nil {
		return nil, err
	}
	if products != "" {
		notes = append(notes, "note: "+products)
	}
	choosing, err := p.choosing(w)
	if err != nil {
		return nil, err
	}
	pl, next, refusal := choosing.within(p.Limits)
	var advised advice
	if errs.Code(refusal) == int(errs.NoFit) {
		advised, refusal = p.refuse(refusal, pl, r)
		longest = advised.longest
	}
	if refusal != nil && errs.Code(refusal) != int(errs.NoFit) {
		return nil, refusal
	}
	rates, err := m.Predicting()
	if err != nil {
		return nil, err
	}
	out := newPlanned(pl, rates, c, m)
	out.Shape, out.Ctx, out.Group, out.Fits = s.name, w.Ctx, w.Group(), refusal == nil
	out.DeviceLimit, out.HostLimit = p.Limits.Device, p.Limits.Host
	out.positions, out.windows = positions, s.opened.Windows()
	out.notes = append(notes, c.notes(m, s, w)...)
	out.Attn, out.PlannedLast = w.Attn(), NewPlannedLast(w, pl, rates, c.Micros())
	c.Ctx = w.Ctx
	out.predictions(c.Training, w, m)
	if longest >= 0 {
		out.MaxCtx = &longest
	}
	if c.Processes > 1 {
		if out.Divisions, err = c.divisions(peers, p, s, m, pl, refusal == nil); err != nil {
			return nil, err
		}
	}
	if c.Processes > 1 && !m.OnHost {
		out.LinkBps, out.Link = m.Rates.OfLink(), m.Links()
	}
	if refusal == nil && !c.Overview {
		out.compare(p, choosing, next, c.Micros(), rates)
	}
	out.refusal, out.advised = refusal, advised.changes
	return out, nil
}

// work is the work at the request's context, or at the longest that fits where that is asked for: 0 where none does, -1
// where it is not. Where nothing fits it is that of the shortest context that is not too short for its groups.
func (c Options) work(r *Request, p Planner) (w Work, longest int, err error) {
	longest = -1
	if c.MaxCtx {
		if longest, err = p.another().longest(r.At); err != nil {
			return w, longest, err
		}
		if !c.CtxGiven {
			r.Ctx = max(longest, unit)
		}
	}
	nothing := longest == 0 && !c.CtxGiven
	w, err = r.At(r.Ctx)
	for nothing && errs.Code(err) == int(errs.Usage) && r.Ctx < longestTried {
		r.Ctx *= 2
		w, err = r.At(r.Ctx)
	}
	if nothing {
		w.Asked = fmt.Sprintf("%s: even a context of %d tokens", errs.Option("max-ctx"), r.Ctx)
	}
	return w, longest, err
}

// newPlanned says a plan: where its bytes go and how long a step takes.
func newPlanned(pl Plan, r ops.Rates, c Options, m machine.Machine) *Planned {
	room := pl.Room()
	return &Planned{
		Tile: pl.Tile, Device: m.Device, DType: TypeName(m.Act), Chip: m.Chip,
		DevicePlan: room.Device, HostPlan: room.Host, PredictedS: pl.Seconds(r, c.Micros()),
		Keep: pl.Keep, More: pl.More, Moved: pl.Moved, Stream: pl.Stream, MLPRows: pl.MLPRows, HeadRows: pl.HeadRows,
		Shard: pl.Shard, HostState: pl.HostState, Trainable: pl.Trainable,
		Shared: room.Shared, Slots: room.Slots, Streamed: room.Streamed, State: room.State,
		Params: room.Params, Act: room.Act, Halo: room.Halo, MovedBytes: room.MovedBytes, Workspace: room.Workspace,
		Context: room.Context, Weights: room.Weights, Made: room.Made, IDs: room.IDs, Base: room.Base,
		onHost: m.OnHost, hostAssumed: c.Memory.Host == nil && !m.IsHere(), sought: c.MaxCtx,
	}
}

// notes are what is to be said of the memory allowed and of the attention.
func (c Options) notes(m machine.Machine, s subject, w Work) (notes []string) {
	if d := c.Memory.Device; d != nil && !m.OnHost && !m.IsHere() && *d > m.Memory {
		notes = append(notes, fmt.Sprintf("note: %s allows more than the %s of this card", errs.Option("device-mem"),
			ui.Bytes(m.Memory)))
	}
	for _, note := range c.MemoryNotes(m) {
		notes = append(notes, "note: "+note)
	}
	if note := load.Unsegmented(s.desc, w.Spec); note != "" {
		notes = append(notes, "note: "+note)
	}
	return notes
}

// divisions are the ways to divide a step among the processes; of one of several plans none.
func (c Options) divisions(peers int, p Planner, s subject, m machine.Machine, pl Plan, fits bool) ([]Division, error) {
	if c.Overview {
		return nil, nil
	}
	t := c.Training
	if m.Rates.Link > 0 || m.IsHere() {
		t.Peers = peers
	}
	at := func(t Training) Request { return s.request(t, m.OnHost) }
	return p.divisions(t, c.Peers, at, pl, fits)
}

// compare adds the next best plan, and what half as much memory again would buy, where that is another plan.
func (p *Planned) compare(by Planner, c *choosing, next Plan, accum int, r ops.Rates) {
	// Plans are chosen by built-in rates. Where those measured on a CPU have it the other way round there is none to name.
	if s := next.Seconds(r, accum); next.Tile > 0 && s >= p.PredictedS {
		p.Next, p.NextS = next.How(), s
	}
	with := func(lim Limits) (string, float64) { // nothing where they buy less than a hundredth of the time
		pl, _, err := c.within(lim)
		if s := pl.Seconds(r, accum); err == nil && s < 0.99*p.PredictedS {
			return pl.How(), s
		}
		return "", 0
	}
	lim := by.Limits
	if !by.OnHost {
		p.MoreDevice, p.MoreDeviceS = with(Limits{Device: lim.Device + lim.Device/2, Host: lim.Host})
	}
	p.MoreHost, p.MoreHostS = with(Limits{Device: lim.Device, Host: lim.Host + lim.Host/2})
}

// subject is the model that is planned for: a shape's, or a checkpoint's by its config.json and the adapter's alone.
type subject struct {
	name   string
	desc   model.Desc
	opened *load.Base // without anything in it for a shape
	notes  []string
}

func newSubject(c Options) (subject, error) {
	s := subject{name: c.Shape}
	var err error
	s.opened = &load.Base{}
	named, isKnown := byName(c.Model, c.Window)
	if isKnown && c.Adapter == "" {
		if _, err := ckpt.Resolve(c.Model); err != nil {
			c.Shape, s.name = named.shape, c.Model
			s.notes = append(s.notes, fmt.Sprintf("note: %v. Until then it is planned for the shape that is known by this "+
				"name, %s", err, named.shape))
		}
	}
	if c.Shape != "" {
		if c.Adapter != "" {
			return s, errs.Usagef("%s %s belongs to a checkpoint; give %s instead of %s %s", errs.Option("adapter"), c.Adapter,
				errs.Option("model"), errs.Option("shape"), c.Shape)
		}
		if s.desc, err = Shape(c.Shape); err != nil {
			return s, err
		}
		named.fit(&s.desc)
		if w := c.Window; w != nil && *w > 0 && len(s.desc.Windows) == 0 {
			return s, errs.Usagef("%s %s: no layer of %s %s has a sliding window whose length could be set; leave the option "+
				"out", errs.Option("sliding-window"), *w, errs.Option("shape"), c.Shape)
		} else if w != nil {
			s.desc.Windows = w.Apply(s.desc.Windows)
		}
	} else if s.opened, err = load.OpenConfig(c.Model, c.Adapter); err == nil {
		if err = s.opened.ChooseWindow(c.Window, c.Adapter); err == nil && c.Tune != "full" {
			err = s.opened.ChooseWeights(c.Weights, c.Adapter, false)
		}
		s.name, s.desc = c.Model, s.opened.Desc()
	}
	return s, err
}

// held says how frozen linear weights are held.
func (s subject) held(c Options) string {
	if s.opened.Config == nil {
		return c.Weights
	}
	return s.opened.Held
}

// check refuses a context that training would refuse, and says the positions that it would use.
func (s subject) check(c Options, ctx int) (positions string, notes []string, err error) {
	if s.opened.Config == nil {
		return "", s.notes, nil
	}
	pos, err := s.opened.Place(c.Adapter, c.Positions.At(ctx))
	notes = pos.Told()
	if n := load.ExtendsNothing(ctx, s.opened.Positions.Reads(c.Positions.BaseCtx)); n != "" {
		notes = append(notes, "note: "+n)
	}
	return pos.String(), notes, err
}

// request is what the options ask for of the subject.
func (s subject) request(c Training, onHost bool) Request {
	return c.Request(func(t Training) (Work, error) {
		if s.opened.Config == nil {
			return t.Stated(s.desc, onHost)
		}
		w, err := t.Of(s.opened, onHost)
		w.IDs += t.rowBytes()
		return w, err
	})
}

// Refusal is the error, of kind NoFit, that says what is missing and how to mend it; nil where the plan fits.
func (p *Planned) Refusal() error { return p.refusal }

// Advised are the changes of the command after which it fits; nil where it does, and where nothing helps.
func (p *Planned) Advised() errs.Advice { return p.advised }
