package train

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"longlora/internal/dist"
	"longlora/internal/errs"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/rundir"
)

// A group of ranks trains what one process would: the samples of a step are divided among them by number, or among
// chains of ranks that divide each row, and their gradients are summed up before the norm is taken. Every rank reads
// model and data for itself and keeps all that is trained. Rank 0 alone touches --out: what it finds there it tells the
// others.

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
	if err := dist.FromFirst(g, &d); err != nil {
		return false, err
	}
	r.from, r.rec.State, r.steps, r.others = d.From, d.State, d.Steps, d.Others
	return d.Done, nil
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
	return dist.Common(r.compare(all))
}

// compare is alike, of what the ranks have.
func (r *run) compare(all [][]byte) error {
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
		if first.Chain != other.Chain {
			return errs.Usagef("rank %d divides rows among %d processes, rank 0 among %d; give all ranks the same %s", rank,
				other.Chain, first.Chain, errs.Option("sequence-ranks"))
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
	if err := r.planner.Agree(g); err != nil {
		return err
	}
	if g.Rank() == 0 {
		if err := r.choose(saved, replan); err != nil {
			return err
		}
	}
	first := r.plan
	if err := dist.FromFirst(g, &first); err != nil || g.Rank() == 0 {
		return err
	}
	return r.choose(&first, false)
}

// scored adds up what the ranks scored, sums of losses and counts of tokens. Where one of them stops all do.
func (r *run) scored(ctx context.Context, sum float64, count int) (float64, int, error) {
	if r.c.Ranks.Size() == 1 {
		return sum, count, ctx.Err()
	}
	all, err := r.c.Ranks.Numbers(stops(ctx), sum, float64(count))
	if err != nil {
		return 0, 0, err
	}
	sum, count = 0, 0
	for _, w := range all {
		if w[0] != 0 {
			return 0, 0, r.meeting.canceled(r.engine)
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

// processes counts ranks for people: n of them, or n chains that divide rows.
func processes(n, chain int) string {
	switch {
	case chain > 1 && n == 1:
		return fmt.Sprintf("a chain of %d processes", chain)
	case chain > 1:
		return fmt.Sprintf("%d chains of %d processes", n, chain)
	case n <= 1:
		return "one process"
	}
	return fmt.Sprintf("%d processes", n)
}
