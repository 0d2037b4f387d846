package plan

import (
	"fmt"
	"io"
	"sort"
	"strconv"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
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
// rows.
type Division struct {
	Chain      int     `json:"sequence_ranks"`
	Chains     int     `json:"row_groups"`
	Fits       bool    `json:"fits"`
	PredictedS float64 `json:"predicted_s,omitempty"` // of a step
	TokPerS    float64 `json:"predicted_tok_per_s,omitempty"`
	DevicePlan int64   `json:"device_plan_bytes"`
	HostPlan   int64   `json:"host_plan_bytes"`
	How        string  `json:"plan"`
	Command    string  `json:"command,omitempty"` // that asks for it, where it is not what is asked
	asked      bool
}

// Advice is what asks for the division; nil where it is asked for already.
func (d Division) Advice() errs.Advice {
	if d.asked {
		return nil
	}
	return errs.Advice{{Option: "sequence-ranks", Value: strconv.Itoa(d.Chain)}}
}

// divisions plans all ways in which so many processes can divide a step, the quickest first.
func (p Planner) divisions(t Training, at func(Training) Request) (out []Division, err error) {
	rates, err := p.Predicting()
	if err != nil {
		return nil, err
	}
	rows := t.Batch * t.Accum
	for chain := 1; chain <= t.Processes; chain++ {
		chains := t.Processes / chain
		if t.Processes%chain != 0 || rows%chains != 0 || chain > 1 && (t.Rolls() || t.Tile > 0 || chain > t.Ctx) {
			continue
		}
		d := Division{Chain: chain, Chains: chains, asked: chain == max(1, t.Chain)}
		c := t
		c.Chain = chain
		r := at(c)
		w, err := r.At(t.Ctx)
		if err != nil {
			return nil, err
		}
		pl, err := p.choose(w)
		if err != nil && errs.Code(err) != int(errs.NoFit) {
			return nil, err
		}
		room := pl.Room()
		d.Fits, d.How, d.DevicePlan, d.HostPlan = err == nil, pl.How(), room.Device, room.Host
		if d.Fits {
			d.PredictedS = pl.Seconds(rates, c.Micros())
			d.TokPerS = float64(t.Ctx*rows) / d.PredictedS
		}
		out = append(out, d)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i], out[j]
		return a.Fits && (!b.Fits || a.PredictedS < b.PredictedS)
	})
	return out, nil
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
	names := []string{"best: ", "next best: "}
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
	}
}
