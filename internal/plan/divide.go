package plan

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/par"
	"longlora/internal/ui"
)

// passing counts what a rank of a chain takes from its neighbours, over the link between two cards, and how long its
// operations wait for that. The neighbours are taken to be as far as it is.
type passing struct {
	c    *ops.Counter
	rank int
	size int
}

// Place implements ops.Link.
func (p passing) Place() (rank, size int) { return p.rank, p.size }

// Give implements ops.Link.
func (p passing) Give(ops.Side, ops.Tensor) ops.Passage { return ops.Passage{} }

// Take implements ops.Link.
func (p passing) Take(from ops.Side, t ops.Tensor) ops.Passage {
	return ops.Passage{N: p.c.Share(t, t, ops.Whole(t)).N, Side: from, Taken: true}
}

// Wait implements ops.Link.
func (p passing) Wait(x ops.Passage) { p.c.Wait(ops.Ticket{N: x.N, Way: ops.Brought}) }

// division is of a rank of a chain that has a halo: all take as much memory, and with the first one's smaller work its
// span is as long or longer.
func (z *counted) division() model.Division {
	d := model.Division{Rank: min(1, z.p.Chain-1), Size: z.p.Chain}
	if d.Size > 1 {
		d.Link = passing{z.c, d.Rank, d.Size}
	}
	return d
}

// Division is a way in which the processes of a group divide a step: in chains that divide each row, which share the
// rows, each with all frozen weights or with a part of them.
type Division struct {
	Chain      int     `json:"sequence_ranks"`
	Chains     int     `json:"row_groups"`
	Shard      int     `json:"shard"` // layers
	Fits       bool    `json:"fits"`
	PredictedS float64 `json:"predicted_s,omitempty"` // of a step
	TokPerS    float64 `json:"predicted_tok_per_s,omitempty"`
	DevicePlan int64   `json:"device_plan_bytes"`
	HostPlan   int64   `json:"host_plan_bytes"`
	How        string  `json:"plan"`
	Command    string  `json:"command,omitempty"` // that asks for it, where it is not what is asked
	asked      bool
	advice     errs.Advice
}

// Advice is what asks for the division; nil where it is asked for already.
func (d Division) Advice() errs.Advice { return d.advice }

// divisions plans all ways in which so many processes can divide a step, the quickest first; peers is how many share
// weights where nobody asks for that. What is asked is planned already, as it fits or the smallest plan of it.
func (p Planner) divisions(t Training, peers int, at func(Training) Request, asked Plan, fits bool) (out []Division,
	err error) {
	rates, err := p.Predicting()
	if err != nil {
		return nil, err
	}
	rows := t.Batch * t.Accum
	type way struct {
		d   []Division
		err error
	}
	var ways []*way
	var side par.Group // each takes seconds where rows are long
	for chain := 1; chain <= t.Processes; chain++ {
		chains := t.Processes / chain
		if t.Processes%chain != 0 || rows%chains != 0 || chain > 1 && (t.Rolls() || chain > t.Ctx) {
			continue
		}
		w, c := &way{}, t
		c.Chain, c.Peers = chain, peers
		ways = append(ways, w)
		side.Go(func() {
			if d := c.divided(asked, fits, rates); chain == max(1, t.Chain) {
				d.asked = true
				w.d = []Division{d}
			} else if d, w.err = p.divided(c, at(c), rates); w.err == nil {
				d.advice = errs.Advice{{Option: "sequence-ranks", Value: strconv.Itoa(chain)}}
				w.d = []Division{d}
			} else if errs.Code(w.err) == int(errs.Usage) { // a tile that suits another division is too short for this one
				w.err = nil
				return
			}
			if w.err == nil && t.ShardWeights == "auto" && t.Peers > 1 && w.d[0].Shard == 0 && !p.OnHost {
				c.ShardWeights, c.Peers = "on", t.Peers
				w.d, w.err = p.sharded(w.d, c, at(c), rates)
			}
		})
	}
	side.Wait()
	for _, w := range ways {
		if w.err != nil {
			return nil, w.err
		}
		out = append(out, w.d...)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return a.Fits && (!b.Fits || a.PredictedS < b.PredictedS)
	})
	return out, nil
}

// sharded adds to a division the same one with sharded weights, which t asks for, where that is quicker.
func (p Planner) sharded(d []Division, t Training, r Request, rates ops.Rates) ([]Division, error) {
	s, err := p.divided(t, r, rates)
	if err != nil || !s.Fits || d[0].Fits && s.PredictedS >= 0.99*d[0].PredictedS {
		return d, err
	}
	s.advice = slices.Concat(d[0].advice, errs.Advice{{Option: "shard-weights", Value: "on"}})
	return append(d, s), nil
}

// divided plans a step that is divided as t says.
func (p Planner) divided(t Training, r Request, rates ops.Rates) (d Division, err error) {
	w, err := r.At(t.Ctx)
	if err != nil {
		return d, err
	}
	pl, err := p.choose(w)
	if err != nil && errs.Code(err) != int(errs.NoFit) {
		return d, err
	}
	return t.divided(pl, err == nil, rates), nil
}

// divided is a step that is divided as t says and carried out by a plan.
func (t Training) divided(pl Plan, fits bool, rates ops.Rates) Division {
	room := pl.Room()
	d := Division{Chain: t.Chain, Chains: t.Processes / t.Chain, Shard: pl.Shard, Fits: fits, How: pl.How(),
		DevicePlan: room.Device, HostPlan: room.Host}
	if fits {
		d.PredictedS = pl.Seconds(rates, t.Micros())
		d.TokPerS = float64(t.Ctx*t.Batch*t.Accum) / d.PredictedS
	}
	return d
}

// words say how the processes divide a step.
func (d Division) words() string {
	switch {
	case d.Chains == 1:
		return fmt.Sprintf("%d processes divide each row", d.Chain)
	case d.Chain == 1:
		return fmt.Sprintf("%d processes share the rows", d.Chains)
	}
	return fmt.Sprintf("%d groups of %d share the rows, each row divided by %d", d.Chains, d.Chain, d.Chain)
}

// printDivisions writes what was found about dividing the step otherwise.
func (p *Planned) printDivisions(w io.Writer) {
	if len(p.Divisions) < 2 {
		return
	}
	names, asks := []string{"best: ", "next best: "}, false
	for i, d := range p.Divisions {
		name, rank := "", ""
		if i == 0 {
			name = "divided"
		}
		if i < len(names) && d.Fits {
			rank = names[i]
		}
		memory := ui.Bytes(d.DevicePlan)
		if p.onHost {
			memory = ui.Bytes(d.HostPlan)
		}
		text := fmt.Sprintf("%s: does not fit", d.words())
		if d.Fits {
			text = fmt.Sprintf("%s%s: %s a step, %s each (%s)", rank, d.words(), ui.Duration(d.PredictedS), memory, d.How)
		}
		if d.asked {
			text += ", as asked"
		} else if d.Fits {
			text += ": " + d.Command
		}
		ui.Fact(w, name, "%s", text)
		asks = asks || slices.ContainsFunc(d.advice, func(c errs.Change) bool { return c.Option == "shard-weights" })
	}
	if asks {
		ui.Fact(w, "", "%s auto divides weights only where nothing else fits; on does where it is quicker too",
			errs.Option("shard-weights"))
	}
}
