package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"

	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/rundir"
)

// A group of ranks trains what one process would: the samples of a step are divided among them by number, and their
// gradients are summed up before the norm is taken. Every rank reads model and data for itself and keeps all that is
// trained. Rank 0 alone touches --out: what it finds there it tells the others.

// decision is what rank 0 found to go on from.
type decision struct {
	Done   bool         `json:"done"`
	From   string       `json:"from"`
	State  rundir.State `json:"state"`
	Steps  int          `json:"steps"`
	Others bool         `json:"others"`
}

// agree finds what the run goes on from, and sees to it that all ranks do the same. done says that nothing is left to
// do.
func (r *run) agree() (done bool, err error) {
	g := r.c.Ranks
	if g.Rank() == 0 {
		done, err = r.findState()
	} else {
		r.savedAt = -1
		r.rec, err = r.newRecord()
	}
	if err != nil || g.Size() == 1 {
		return done, err
	}
	if err := r.alike(); err != nil {
		return false, err
	}
	d := decision{Done: done, From: r.from, State: r.rec.State, Steps: r.steps, Others: r.others}
	if err := fromFirst(r, &d); err != nil {
		return false, err
	}
	r.from, r.rec.State, r.steps, r.others = d.From, d.State, d.Steps, d.Others
	return d.Done, nil
}

// fromFirst gives every rank rank 0's v.
func fromFirst[T any](r *run, v *T) error {
	var b []byte
	var err error
	if r.c.Ranks.Rank() == 0 {
		if b, err = json.Marshal(v); err != nil {
			return err
		}
	}
	all, err := r.c.Ranks.Gather(b)
	if err != nil || r.c.Ranks.Rank() == 0 {
		return err
	}
	var first T // what is not said is not as it was
	if err = json.Unmarshal(all[0], &first); err == nil {
		*v = first
	}
	return err
}

// alike refuses ranks whose options, model or data are not rank 0's, naming the first difference.
func (r *run) alike() error {
	own := *r.rec
	own.State, own.Plan, own.Files, own.Result, own.Origins = rundir.State{}, plan.Plan{}, nil, nil, nil
	b, err := json.Marshal(own)
	if err != nil {
		return err
	}
	all, err := r.c.Ranks.Gather(b)
	if err != nil {
		return err
	}
	for rank, theirs := range all {
		if bytes.Equal(theirs, all[0]) {
			continue
		}
		first, other := &Record{}, &Record{}
		if err := json.Unmarshal(all[0], first); err != nil {
			return err
		}
		if err := json.Unmarshal(theirs, other); err != nil {
			return err
		}
		if err := other.differ(first, func(string) bool { return false }, func(what string, was, is any) error {
			return errs.Usagef("rank %d does not train what rank 0 does: %s is %v there, and %v on rank 0; give all ranks "+
				"the same",
				rank, what, is, was)
		}, io.Discard); err != nil {
			return err
		}
		if first.Device != other.Device || first.DType != other.DType {
			return errs.Usagef("rank %d computes on %s in %s, rank 0 on %s in %s; give all ranks one kind of device", rank,
				other.Device, other.DType, first.Device, first.DType)
		}
		if first.Kernels != other.Kernels {
			fmt.Fprintf(r.log, "note: rank %d computes with kernels for %s, rank 0 for %s\n", rank, other.Kernels, first.Kernels)
		}
	}
	return nil
}

// together chooses the plan: rank 0's, within what every rank may use.
func (r *run) together(saved *plan.Plan) error {
	g, replan := r.c.Ranks, r.c.Replan || r.others
	if g.Size() == 1 {
		return r.choose(saved, replan)
	}
	l := &r.planner.Limits
	all, err := r.words(float64(l.Device), float64(l.Host-r.planner.Base))
	if err != nil {
		return err
	}
	for _, w := range all {
		l.Device, l.Host = min(l.Device, int64(w[0])), min(l.Host, int64(w[1])+r.planner.Base)
	}
	if g.Rank() == 0 {
		if err := r.choose(saved, replan); err != nil {
			return err
		}
	}
	first := r.plan
	if err := fromFirst(r, &first); err != nil || g.Rank() == 0 {
		return err
	}
	return r.choose(&first, false)
}

// words gives every rank the numbers of each.
func (r *run) words(own ...float64) ([][]float64, error) {
	var b []byte
	for _, x := range own {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
	}
	all, err := r.c.Ranks.Gather(b)
	if err != nil {
		return nil, err
	}
	out := make([][]float64, len(all))
	for i, b := range all {
		if len(b) != 8*len(own) {
			return nil, fmt.Errorf("rank %d gives %d bytes, rank %d gives %d numbers", i, len(b), r.c.Ranks.Rank(), len(own))
		}
		for ; len(b) > 0; b = b[8:] {
			out[i] = append(out[i], math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	}
	return out, nil
}

// stops is 1 where this rank was asked to stop.
func stops(ctx context.Context) float64 {
	if ctx.Err() != nil {
		return 1
	}
	return 0
}

// meet is Engine.Meet. From here on no rank turns back.
func (r *run) meet(ctx context.Context, sum float64) (float64, error) {
	ps := r.engine.Model.Params
	norm, err := ps.GradNorm() // this rank's, to know whose gradient is no number
	if err == nil {
		err = r.peaks.Look()
	}
	if err != nil {
		return 0, err
	}
	all, err := r.words(stops(ctx), sum, norm, float64(r.peaks.Device), float64(r.peaks.Host))
	if err != nil {
		return 0, err
	}
	total := 0.0
	var odd error
	for rank, w := range all {
		if w[0] != 0 {
			return 0, context.Canceled
		}
		total += w[1]
		if err := CheckFinite(r.rec.State.Step+1, w[1], w[2]); err != nil && odd == nil {
			odd = errs.Numericf("rank %d: %w", rank, err)
		}
		r.peaks.Device, r.peaks.Host = max(r.peaks.Device, int64(w[3])), max(r.peaks.Host, int64(w[4]))
	}
	if odd != nil {
		return 0, odd
	}
	if err := r.c.Ranks.SumOn(r.be, ps.Gradient()); err != nil {
		return 0, err
	}
	if err := r.be.Sync(); err != nil {
		return 0, err
	}
	return total, r.c.Ranks.Fault()
}

// scored adds up what the ranks scored, sums of losses and counts of tokens. Where one of them stops all do.
func (r *run) scored(ctx context.Context, sum float64, count int) (float64, int, error) {
	if r.c.Ranks.Size() == 1 {
		return sum, count, ctx.Err()
	}
	all, err := r.words(stops(ctx), sum, float64(count))
	if err != nil {
		return 0, 0, err
	}
	sum, count = 0, 0
	for _, w := range all {
		if w[0] != 0 {
			return 0, 0, context.Canceled
		}
		sum, count = sum+w[1], count+int(w[2])
	}
	return sum, count, nil
}

// restored gives the model of every rank what the checkpoint holds.
func (r *run) restored() error {
	if r.c.Ranks.Rank() == 0 {
		if err := r.restore(r.engine, r.from); err != nil {
			return err
		}
	}
	if r.c.Ranks.Size() == 1 {
		return nil
	}
	ps := r.engine.Model.Params
	for _, p := range ps.List {
		var x [3][]float32
		for i, t := range []ops.Tensor{p.Value, p.Moment1, p.Moment2} {
			x[i] = make([]float32, t.Elems())
			if r.c.Ranks.Rank() == 0 {
				if err := ps.Read(x[i], t); err != nil {
					return err
				}
			}
			if err := r.c.Ranks.Broadcast(0, bytesOf(x[i])); err != nil {
				return err
			}
		}
		if r.c.Ranks.Rank() > 0 {
			ps.Set(p, x[0])
			ps.SetMoments(p, x[1], x[2])
		}
	}
	return r.be.Sync()
}

// processes counts ranks for people.
func processes(n int) string {
	if n <= 1 {
		return "one process"
	}
	return fmt.Sprintf("%d processes", n)
}
