package plan

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/machine"
	"longlora/internal/model"
	"longlora/internal/s2attn"
	"longlora/internal/ui"
)

// PrintNotes writes what is to be known beside the numbers, a line each.
func (p *Planned) PrintNotes(w io.Writer) {
	for _, n := range p.notes {
		fmt.Fprintln(w, n)
	}
}

// Print writes the plan for people: whether it fits and how long it takes, where the bytes go, how it is done.
func (p *Planned) Print(w io.Writer) {
	p.printVerdict(w)
	fmt.Fprintln(w)
	p.printBytes(w)
	fmt.Fprintln(w)
	p.printHow(w)
	p.PrintNotes(w)
}

// printVerdict writes what people ask first.
func (p *Planned) printVerdict(w io.Writer) {
	fmt.Fprintf(w, "%s, %d tokens, %s on %s\n\n", p.Shape, p.Ctx, p.DType, p.Chip)
	memory := fmt.Sprintf("%s of host memory, of %s", ui.Bytes(p.HostPlan), ui.Bytes(p.HostLimit))
	if !p.onHost {
		memory = fmt.Sprintf("%s of device memory, of %s, and %s", ui.Bytes(p.DevicePlan), ui.Bytes(p.DeviceLimit), memory)
	}
	part := ""
	if p.ranks > 1 {
		memory += fmt.Sprintf(", each of %d processes", p.ranks)
		part = "each process's part of "
	}
	if p.Fits {
		ui.Fact(w, "fits", "yes: takes %s", memory)
	} else {
		ui.Fact(w, "fits", "no: needs at least %s", memory)
	}
	if p.hostAssumed {
		ui.Fact(w, "", "the %s of host memory are %s80 %% of what is available here; %s gives another machine's",
			ui.Bytes(p.HostLimit), part, errs.Option("host-mem"))
	}
	each := "a row"
	if p.rows > 1 {
		each = fmt.Sprintf("%d rows", p.rows)
	}
	if p.ranks > 1 {
		each += fmt.Sprintf(", shared by %d processes", p.ranks)
		if p.chain > 1 {
			each += fmt.Sprintf("; each row divided by %d", p.chain)
		}
	}
	ui.Fact(w, "a step", "%s for %s: %s tok/s predicted (%s)", ui.Duration(p.PredictedS), each, rate(p.TokPerS),
		p.Rates.Words())
	if l := p.PlannedLast; l != nil {
		ui.Fact(w, "", "%s with full attention, %s", ui.Duration(l.PredictedS), l.when)
	}
	if p.RunS > 0 {
		ui.Fact(w, "the steps", "%s for all %d, evaluation and saving left out", ui.Duration(p.RunS), p.Steps)
	}
	if p.LinkBps > 0 {
		ui.Fact(w, "links", "%.0f GB/s from other cards to one, %s, counted for their sum and for what they pass on",
			p.LinkBps/1e9, p.Link.OfLinks())
	}
	if p.MaxCtx != nil {
		within := ui.Bytes(p.HostLimit) + " of host memory"
		if !p.onHost {
			within = ui.Bytes(p.DeviceLimit) + " of device memory and " + within
		}
		if p.ranks > 1 {
			within += " of each process"
		}
		ui.Fact(w, "at most", "%d tokens: the longest context that fits %s", *p.MaxCtx, within)
	}
}

// rate is a speed in three digits.
func rate(v float64) string {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	return strconv.FormatFloat(r, 'f', -1, 64)
}

// printBytes writes where every byte goes; what takes none is left out.
func (p *Planned) printBytes(w io.Writer) {
	type row struct {
		what string
		n    int64
	}
	device := []row{{"trained values, gradients, moments", p.Params}, {"activations, windows, logits", p.Act},
		{"packing and libraries", p.Workspace}}
	host := []row{{"activations moved to host memory", p.MovedBytes}, {"halos: keys and values between tiles", p.Halo},
		{"frozen weights that wait to be streamed", p.Streamed},
		{"trained matrices' state that waits", p.State},
		{"weights made by loading", p.Made},
		{"token ids and rows", p.IDs}, {"the process itself", p.Base}, {"host memory in all", p.HostPlan}}
	rows := append(device, host...)
	if p.onHost {
		rows = append(rows, row{"frozen weights, mapped from the file", p.Weights},
			row{"frozen weights that are sharded", p.Slots + p.Shared})
	} else {
		rows = append(append(device, row{"frozen weights", p.Weights + p.Slots + p.Shared},
			row{"the driver's context and kernels", p.Context}, row{"device memory in all", p.DevicePlan}), host...)
	}
	table := [][]string{{"where", "bytes"}}
	for _, r := range rows {
		if r.n > 0 {
			table = append(table, []string{r.what, ui.Bytes(r.n)})
		}
	}
	ui.Table(w, table)
}

// printHow writes how it is carried out, in words that say themselves what they mean.
func (p *Planned) printHow(w io.Writer) {
	if p.positions != "" {
		ui.Fact(w, "positions", "%s", p.positions)
	}
	if p.windows != "" {
		ui.Fact(w, "windows", "%s", p.windows)
	}
	if p.Attn == "full" {
		ui.Fact(w, "attention", "full")
	} else {
		ui.Fact(w, "attention", "S²: groups of %d tokens, in half of the heads shifted by half a group", p.Group)
	}
	p.printTiling(w, p.tiling())
	if l := p.PlannedLast; l != nil {
		ui.Fact(w, "then", "attention is full, %s", l.when)
		if last := l.tiling(); last != p.tiling() {
			p.printTiling(w, last)
		}
		memory := ui.Bytes(l.HostPlan) + " of host memory"
		if !p.onHost {
			memory = ui.Bytes(l.DevicePlan) + " of device memory and " + memory
		}
		ui.Fact(w, "", "%s there; the bytes above are room for both", memory)
	}
	ui.Fact(w, "trained", "%d parameters", p.Trainable)
	p.printDivisions(w)
	for _, o := range []struct {
		name, with, plan string
		s                float64
	}{{"next best", "", p.Next, p.NextS},
		{"more memory", "half as much device memory again: ", p.MoreDevice, p.MoreDeviceS},
		{"more memory", "half as much host memory again: ", p.MoreHost, p.MoreHostS}} {
		if o.plan != "" {
			ui.Fact(w, o.name, "%s%s (%s)", o.with, ui.Duration(o.s), o.plan)
		}
	}
}

func (p *Planned) tiling() model.Tiling {
	return model.Tiling{Tile: p.Tile, Keep: p.Keep, More: p.More, Moved: p.Moved, Stream: p.Stream, Shard: p.Shard,
		HostState: p.HostState, MLPRows: p.MLPRows, HeadRows: p.HeadRows}
}

func (l *PlannedLast) tiling() model.Tiling {
	return model.Tiling{Tile: l.Tile, Keep: l.Keep, More: l.More, Moved: l.Moved, Stream: l.Stream, Shard: l.Shard,
		HostState: l.HostState, MLPRows: l.MLPRows, HeadRows: l.HeadRows}
}

// printTiling writes how a step is cut up, and what its layers hold.
func (p *Planned) printTiling(w io.Writer, tl model.Tiling) {
	n := p.Ctx * max(1, p.batch)
	switch {
	case p.chain > 1:
		ui.Fact(w, "tile", "at most %d tokens of each of %d spans go through a layer together", tl.Tile, p.chain)
	case tl.Tile >= n:
		ui.Fact(w, "tile", "%d tokens go through a layer together: all of them", tl.Tile)
	default:
		ui.Fact(w, "tile", "%d tokens go through a layer together: %d tiles", tl.Tile, (n+tl.Tile-1)/tl.Tile)
	}
	ui.Fact(w, "kept", "%s", tl.Kept())
	kinds := []model.Keep{tl.Keep}
	if tl.More > 0 && tl.Keep > model.KeepAll {
		kinds = []model.Keep{tl.Keep - 1, tl.Keep}
	}
	for _, k := range kinds {
		ui.Fact(w, "", "%s: %s", k, meaning[k])
	}
	ui.Fact(w, "pieces", "MLP by %d rows, logits by %d", tl.MLPRows, tl.HeadRows)
}

// meaning is what the policies keep.
var meaning = map[model.Keep]string{
	model.KeepAll:   "a layer's activations, from its forward to its backward pass",
	model.KeepAttn:  "all but the MLP's gate and up, which are made again",
	model.KeepOut:   "the layer's input and attention's output; the rest but attention is made again",
	model.KeepInput: "the layer's input; the layer is run again",
}

// Table writes several plans as lengths by cards, and where it was asked for each card's longest context.
func Table(w io.Writer, plans []*Planned) {
	var chips []string
	var lengths []int
	for _, p := range plans {
		if !slices.Contains(chips, p.Chip) {
			chips = append(chips, p.Chip)
		}
		if !slices.Contains(lengths, p.Ctx) {
			lengths = append(lengths, p.Ctx)
		}
	}
	rows := [][]string{append([]string{"tokens"}, chips...)}
	for _, n := range lengths {
		row := append([]string{strconv.Itoa(n)}, make([]string, len(chips))...)
		for _, p := range plans {
			if p.Ctx == n {
				row[1+slices.Index(chips, p.Chip)] = p.cell()
			}
		}
		rows = append(rows, row)
	}
	first := plans[0]
	if first.sought {
		row := append([]string{"at most"}, make([]string, len(chips))...)
		for _, p := range plans {
			row[1+slices.Index(chips, p.Chip)] = p.most()
		}
		rows = append(rows, row)
	}
	defer first.PrintNotes(w)
	ui.Say(w, "%s: predicted time and memory of a step of %s of so many tokens", first.Shape, ui.Count(first.rows, "row"))
	fmt.Fprintln(w)
	ui.Table(w, rows)
	fmt.Fprintln(w)
	whose := map[machine.Source][]string{}
	for _, p := range plans {
		if of := whose[p.Rates]; !slices.Contains(of, p.Chip) {
			whose[p.Rates] = append(of, p.Chip)
		}
	}
	for _, source := range []machine.Source{machine.Measured, machine.Datasheet, machine.Assumed} {
		if of := whose[source]; of != nil {
			ui.Say(w, "%s: %s", strings.Join(of, ", "), source.Words())
		}
	}
	for _, p := range plans {
		if with := p.advised; !p.Fits && with != nil {
			fmt.Fprintf(w, "%d on %s: what fits, with %s\n", p.Ctx, p.Chip, with)
		}
	}
	if i := slices.IndexFunc(plans, func(p *Planned) bool { return p.hostAssumed }); i >= 0 {
		part := ""
		if plans[i].ranks > 1 {
			part = "each process's part of "
		}
		ui.Say(w, "host memory: %s, %s80 %% of what is available here; %s gives another machine's",
			ui.Bytes(plans[i].HostLimit), part, errs.Option("host-mem"))
	}
}

// cell is a plan in a word: seconds and device memory, or the longest context that fits.
func (p *Planned) cell() string {
	switch {
	case p.Fits && p.onHost:
		return fmt.Sprintf("%s, %s", ui.Duration(p.PredictedS), ui.Bytes(p.HostPlan))
	case p.Fits:
		return fmt.Sprintf("%s, %s", ui.Duration(p.PredictedS), ui.Bytes(p.DevicePlan))
	case !p.sought && p.MaxCtx != nil && *p.MaxCtx > 0:
		return "no, at most " + p.most()
	}
	return "no"
}

// most is the longest context that fits, in a word.
func (p *Planned) most() string {
	if *p.MaxCtx == 0 {
		return "none"
	}
	return strconv.Itoa(*p.MaxCtx)
}

// predictions fills in what is predicted of a step and of the run.
func (p *Planned) predictions(t Training, w Work, m machine.Machine) {
	p.Rates, p.Steps, p.rows, p.batch, p.ranks = m.Source, t.Steps, t.Batch*t.Accum, w.Batch, t.Processes
	p.chain = t.Chain
	p.TokPerS = float64(t.Ctx) * float64(p.rows) / p.PredictedS
	if t.Steps == 0 {
		return
	}
	full := t.FullSteps(t.Steps)
	p.RunS = p.PredictedS * float64(t.Steps)
	if p.PlannedLast != nil && w.Spec.Mode != s2attn.Full {
		p.RunS += (p.PlannedLast.PredictedS - p.PredictedS) * float64(full)
	}
}
