package train

import (
	"context"
	"fmt"
	"io"
	"strings"

	"longlora/internal/data"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/ops"
	"longlora/internal/plan"
	"longlora/internal/rundir"
	"longlora/internal/ui"
)

// Facts are what a dry run found, for --json.
type Facts struct {
	Positions rundir.Positions `json:"positions"`
	Ctx       int              `json:"ctx"`
	Group     int              `json:"group"` // 0 under full attention
	Rows      int              `json:"rows"`  // of an epoch
	Steps     int              `json:"steps"`
	Trainable int64            `json:"trainable"`
	Tile      int              `json:"tile"`
	DevPlan   int64            `json:"device_plan_bytes"`
	HostPlan  int64            `json:"host_plan_bytes"`
	PredictS  float64          `json:"predicted_s"` // of a step
	FullSteps int              `json:"full_steps"`
	*plan.PlannedLast
	Seconds float64 `json:"-"` // predicted of all steps
}

// Check says on log what a run would do, and refuses what it would refuse before its first step; nothing is written. It
// returns the predicted seconds of the steps that are left.
func Check(ctx context.Context, c *Options, be ops.Backend, log io.Writer) (float64, error) {
	r, err := chosen(ctx, c, be, log)
	if err != nil {
		return 0, err
	}
	defer r.close()
	return r.facts(log, r.rec.State.Step)
}

// chosen is a run with a plan, which is not begun: as a start would be, it goes on from what is saved, or is refused.
func chosen(ctx context.Context, c *Options, be ops.Backend, log io.Writer) (*run, error) {
	if err := checkOut(c); err != nil {
		return nil, err
	}
	if files.Held(c.Out) {
		return nil, errs.Usagef("%s: %s", c.Out, busy)
	}
	s, err := newSetup(ctx, c, be, log)
	if err != nil {
		return nil, err
	}
	s.notes(log)
	r := &run{setup: s, log: log}
	done, err := r.findState()
	switch {
	case err != nil:
	case done && s.work.Check(r.rec.Plan) == nil:
		s.plan, err = s.planner.Again(s.work, r.rec.Plan)
	default:
		err = s.choose(r.saved(), c.Replan || r.others)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return r, nil
}

// DryRun says on log what a run would do, and shows its first row; nothing is written.
func DryRun(ctx context.Context, c *Options, be ops.Backend, log io.Writer) (*Facts, error) {
	r, err := chosen(ctx, c, be, log)
	if err != nil {
		return nil, err
	}
	defer r.close()
	seconds, err := r.facts(log, r.rec.State.Step)
	if err != nil {
		return nil, err
	}
	if r.from != "" {
		r.resuming()
	}
	rates, err := r.machine.Predicting()
	if err != nil {
		return nil, err
	}
	if err := r.firstRow(log); err != nil {
		return nil, err
	}
	s := r.setup
	room := s.plan.Room()
	return &Facts{Positions: s.base.Record(s.pos.Positions), Ctx: c.Ctx, Group: s.work.Spec.Group, Rows: s.order.Rows(),
		Steps: s.steps, Trainable: s.plan.Trainable,
		Tile: s.plan.Tile, DevPlan: room.Device, HostPlan: room.Host, PredictS: s.plan.Seconds(rates, s.micros()),
		FullSteps:   s.fullSteps(),
		PlannedLast: plan.NewPlannedLast(s.work, s.plan, rates, s.micros()), Seconds: seconds}, nil
}

// notes passes on what the user should know about the model.
func (s *setup) notes(log io.Writer) {
	for _, n := range s.base.Notes {
		fmt.Fprintf(log, "note: %s\n", n)
	}
	for _, line := range s.pos.Told() {
		fmt.Fprintln(log, line)
	}
}

// facts says before step 1 what will be done and what it will take. It returns the predicted seconds of the steps that
// are left.
func (s *setup) facts(log io.Writer, done int) (float64, error) {
	c := s.c
	line := func(name, format string, a ...any) {
		ui.Fact(log, name, format, a...)
	}
	s.valueFacts(line)
	reads := s.base.Positions.Reads(c.Positions.BaseCtx)
	line("positions", "%s for %d tokens; %s", s.pos, c.Ctx, s.whose(reads))
	if note := load.ExtendsNothing(c.Ctx, reads); note != "" {
		line("note", "%s", note)
	}
	s.attentionFacts(line)
	if w := c.WarmupSteps; w > s.steps {
		line("note", "a warm-up of %d steps outlasts the run of %s: the learning rate ends at %.2g of what it is to be",
			w, ui.Count(s.steps, "step"), float64(s.steps)/float64(w))
	}
	st := s.set.Stats(reads)
	line("rows", "%d of %d tokens an epoch, packed by %s (%d tokens read)", s.order.Rows(), c.Ctx,
		strings.Join(s.set.Packs(), ", "), st.Tokens)
	if s.set.Cut() || s.set.Padded() {
		line("filled", "%.1f %% of the rows' places", 100*st.Fill)
	}
	if st.Dropped > 0 {
		mend := ""
		if st.Shorter > 0 {
			mend = fmt.Sprintf("; %s truncate would keep %d of them, with shorter prompts", errs.Option("overlong"), st.Shorter)
		}
		line("dropped", "%s longer than %s%s", ui.Count(st.Dropped, "example"), errs.Option("ctx"), mend)
	}
	if st.Truncated > 0 {
		line("truncated", "%s longer than %s lost the middle of the prompt's longest text",
			ui.Count(st.Truncated, "example"), errs.Option("ctx"))
	}
	if st.LongAnswers > 0 {
		line("dropped", "%s longer than %s: answers of more than ctx - 64 tokens, or a prompt without one text "+
			"long enough to shorten", ui.Count(st.LongAnswers, "example"), errs.Option("ctx"))
	}
	if n, _ := s.evalRows(); n > 0 {
		line("validation", "%s", ui.Count(n, "row"))
	}
	if st.Skipped > 0 {
		line("skipped", "%s", ui.Count(st.Skipped, "malformed document"))
	}
	if s.set.Documents() && c.Ctx > reads {
		line("documents", "%d; %.1f %% of the tokens lie in documents longer than the %d tokens that the base reads",
			st.Documents, 100*float64(st.Long)/float64(max(st.Tokens, 1)), reads)
	}
	line("trainable", "%d parameters", s.plan.Trainable)
	s.memoryFacts(line)
	for _, note := range c.MemoryNotes(s.machine) {
		line("note", "%s", note)
	}
	rates, err := s.machine.Predicting()
	if err != nil {
		return 0, err
	}
	each, sec := s.plan.Seconds(rates, s.micros()), 0.0
	said := fmt.Sprintf("%s a step predicted", ui.Duration(each))
	left := s.steps - done
	if p := s.plan.Last; p != nil {
		last, full := p.Seconds(rates, s.micros()), min(left, s.fullSteps())
		said += fmt.Sprintf(", %s with full attention", ui.Duration(last))
		left, sec = left-full, last*float64(full)
	}
	sec += each * float64(left)
	line("time", "%s, %s for %s", said, ui.Duration(sec), ui.Count(s.steps-done, "step"))
	return sec, nil
}

// whose says where the positions come from.
func (s *setup) whose(reads int) string {
	switch has := s.pos.Beside; {
	case !s.pos.Changed:
		return fmt.Sprintf("the base's own, which reads %d", reads)
	case has == nil:
		return fmt.Sprintf("the base has %s and reads %d", s.base.Positions, reads)
	case has.Differs(s.pos.Positions):
		return fmt.Sprintf("the adapter was trained at %s for %d, the base has %s and reads %d", has, has.MaxPos,
			s.base.Positions, reads)
	}
	return fmt.Sprintf("the adapter's own, which it was trained at for %d; the base has %s and reads %d", s.pos.MaxPos,
		s.base.Positions, reads)
}

// valueFacts says what the options are that recipes set, by what gave them.
func (s *setup) valueFacts(line func(name, format string, a ...any)) {
	var order []string
	values := map[string][]string{}
	for _, x := range s.settings() {
		if !x.Recipe || x.Text() == "" || s.c.Tune == "full" && adapters[x.Option] {
			continue
		}
		if values[x.From] == nil {
			order = append(order, x.From)
		}
		values[x.From] = append(values[x.From], string(x.Option)+" "+x.Text())
	}
	for i, from := range order {
		name := ""
		if i == 0 {
			name = "values"
		}
		line(name, "%s (%s)", strings.Join(values[from], ", "), from)
	}
}

// attentionFacts says how steps attend, and what is made of sliding windows.
func (s *setup) attentionFacts(line func(name, format string, a ...any)) {
	n, full := s.c.Ctx, s.fullSteps()
	switch {
	case full == s.steps && s.c.Attn == "full":
		line("attention", "full, no groups")
	case full == s.steps: // of a step or two, perhaps by a recipe's share
		line("attention", "full, no groups: of %s, the share of %s is all", ui.Count(int64(full), "step"),
			errs.Option("full-last"))
	case full > 0:
		line("attention", "s2 %s, G = %d of %d tokens; full from step %d on, in the last %d of %d steps", s.work.Spec.Mode,
			s.work.Spec.Group, n, s.steps-full+1, full, s.steps)
	default:
		line("attention", "s2 %s, G = %d of %d tokens", s.work.Spec.Mode, s.work.Spec.Group, n)
	}
	if full < s.steps && 8*s.work.Spec.Group < n {
		line("warning", "G/ctx = %.4g is below 1/8, the smallest that the paper tested",
			float64(s.work.Spec.Group)/float64(n))
	}
	if what := s.base.Windows(); what != "" {
		line("windows", "%s", what)
	}
	if note := load.Unsegmented(s.base.Desc(), s.work.Spec); note != "" {
		line("note", "%s", note)
	}
}

// memoryFacts says where the planned bytes go, for each way of attending and for both in turn.
func (s *setup) memoryFacts(line func(name, format string, a ...any)) {
	first := s.plan
	first.Last = nil
	if s.plan.Last == nil {
		s.memoryOf(line, "memory", first, first.How())
		return
	}
	s.memoryOf(line, "memory s2", first, first.How())
	last, room := *s.plan.Last, s.plan.Room()
	if last.How() == first.How() && room.Host == first.Host && room.Device == first.Device &&
		last.Host == first.Host && last.Device == first.Device {
		is, of := last.Device, s.planner.Limits.Device
		if s.machine.OnHost {
			is, of = last.Host, s.planner.Limits.Host
		}
		line("and full", "the same: %s planned of %s", ui.Bytes(is), ui.Bytes(of))
		return
	}
	s.memoryOf(line, "and full", last, last.How())
	s.memoryOf(line, "for both", room, "one after the other")
}

// memoryOf says where a plan's bytes go; what takes none is left out.
func (s *setup) memoryOf(line func(name, format string, a ...any), what string, p plan.Plan, how string) {
	size := ui.Bytes
	parts := func(names string, sizes ...int64) string {
		var out []string
		for i, name := range strings.Split(names, ", ") {
			if sizes[i] > 0 {
				out = append(out, name+" "+size(sizes[i]))
			}
		}
		return strings.Join(out, ", ")
	}
	if s.machine.OnHost {
		line(what, "%s planned of %s: %s (%s); weights mapped %s", size(p.Host), size(s.planner.Limits.Host),
			parts("parameters, activations, halos, moved activations, encoded weights, token ids, process", p.Params,
				p.Act+p.Workspace, p.Halo, p.MovedBytes, p.Made, p.IDs, p.Base), how, size(p.Weights))
		return
	}
	line(what, "device: %s planned of %s: %s (%s)", size(p.Device), size(s.planner.Limits.Device),
		parts("weights, parameters, activations, context and libraries", p.Weights+p.Slots, p.Params, p.Act,
			p.Context+p.Workspace), how)
	line("", "host: %s planned of %s: %s", size(p.Host), size(s.planner.Limits.Host),
		parts("halos, moved activations, streamed weights, trained state, encoded weights, token ids, process", p.Halo,
			p.MovedBytes, p.Streamed, p.State, p.Made, p.IDs, p.Base))
}

// firstRow shows the first row decoded, with its cuts and its scored tokens marked: on a terminal the ends of its
// parts, elsewhere all of it.
func (s *setup) firstRow(log io.Writer) error {
	row := s.set.Row(s.order.Row(0))
	fmt.Fprintf(log, "first row   %d tokens, %d scored; scored tokens in ⟦ ⟧, documents cut at ┃\n", len(row.IDs),
		load.Scored(row))
	var text strings.Builder
	show := s.decode
	if ui.Columns(log) > 0 {
		show = s.ends
	}
	for i, lo := range row.Docs {
		hi := len(row.IDs)
		if i+1 < len(row.Docs) {
			hi = int(row.Docs[i+1])
		}
		if i > 0 {
			text.WriteString("┃")
		}
		if err := marked(&text, row, int(lo), hi, show); err != nil {
			return err
		}
	}
	fmt.Fprintln(log, text.String())
	return nil
}

// marked writes a document of a row with its targets in brackets; its first token is never one.
func marked(b *strings.Builder, row data.Row, lo, hi int, show func([]int32) (string, error)) error {
	spans := row.Scored
	if spans == nil {
		spans = []data.Span{{Lo: 0, Hi: int32(len(row.IDs))}}
	}
	at := lo
	for _, p := range spans {
		from, to := max(int(p.Lo), lo+1), min(int(p.Hi), hi)
		if from >= to {
			continue
		}
		before, err := show(row.IDs[at:from])
		if err != nil {
			return err
		}
		target, err := show(row.IDs[from:to])
		if err != nil {
			return err
		}
		b.WriteString(before + "⟦" + target + "⟧")
		at = to
	}
	rest, err := show(row.IDs[at:hi])
	b.WriteString(rest)
	return err
}

// ends is a text of ids whose middle is left out where it is long: a row of 32,768 tokens would move all else out of a
// terminal's window.
func (s *setup) ends(ids []int32) (string, error) {
	const n = 64
	if len(ids) <= 3*n {
		return s.decode(ids)
	}
	first, err := s.decode(ids[:n])
	if err != nil {
		return "", err
	}
	last, err := s.decode(ids[len(ids)-n:])
	left := fmt.Sprintf("\n… %d tokens left out here; through a pipe all are written …\n", len(ids)-2*n)
	return first + left + last, err
}

// decode is a text of ids; without a tokenizer the ids themselves.
func (s *setup) decode(ids []int32) (string, error) {
	if s.tok != nil {
		return s.tok.Decode(ids)
	}
	return strings.Trim(fmt.Sprint(ids), "[]") + " ", nil
}
