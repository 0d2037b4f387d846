package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/eval"
	"longlora/internal/ops"
	"longlora/internal/report"
	"longlora/internal/ui"
)

func newEval() *cobra.Command {
	return command("eval --model DIR --task ppl|passkey|topics|ruler --ctx N[,N…]", "Measure perplexity and retrieval by "+
		"length",
		`Measure perplexity by length under either protocol and by position, whether a passkey hidden in filler is found
again, whether the first topic of a long conversation is, and six to ten RULER-like tasks (docs/eval.md).
The checkpoint's positions are used as they are, at any --ctx, unless flags say otherwise.`,
		`# does it hold to 16k? 32 windows a length, base and merged side by side, with a page of curves
longlora eval --model base --model merged --task ppl --data books.txt --ctx 4096,8192,16384 --limit 32 --report eval.html

# is a number found again, by depth? An adapter need not be merged
longlora eval --model base --adapter run --task passkey --ctx 4096,16384 --trials 3

# RULER-like tasks, also with needles in a text of your own
longlora eval --model merged --task ruler --ctx 8192,32768 --haystack book.txt --out results

# the other protocol, each token scored once, kept as it comes
longlora eval --model merged --task ppl --data books.txt --ctx 16384 --protocol sliding --stride 512 --out results`,
		func(c *cobra.Command, v *cli.Values) error {
			o, page, err := v.Eval()
			if err != nil {
				return err
			}
			if page != "" { // said now, not after hours of work
				if err := report.CheckFile(page); err != nil {
					return fmt.Errorf("--report %w", err)
				}
			}
			var rep eval.Report
			first := true
			err = launched(c, v, func(r rank, be ops.Backend) (err error) {
				o.Ranks, o.Memory.Machine, o.Memory.Card = r.group, r.machine, r.card
				first = r.group.Rank() == 0
				rep, err = eval.Run(r.ctx, eval.Job{Options: o}, be, r.log)
				return err
			})
			if err == nil && !first { // rank 0 says it
				return nil
			}
			if err == nil && v.JSON() {
				err = document(c.OutOrStdout(), rep)
			} else if err == nil {
				showEval(c.OutOrStdout(), o, rep)
			}
			if err == nil && page != "" { // last: what was measured is not lost with it
				err = report.Eval(rep).Write(page)
			}
			return err
		})
}

func showEval(w io.Writer, o eval.Options, rep eval.Report) {
	ui.KeyedTable(w, 3, listed(rep.Results)) // model, task, ctx
	if len(o.Models) > 1 {
		fmt.Fprintln(w)
		ui.KeyedTable(w, 2, sideBySide(o.Models, rep.Results)) // task, ctx
	}
	rulerLike(w, rep.Results)
	missed(w, rep.Results)
	if len(rep.Data) > 0 {
		fmt.Fprintln(w)
		ui.Say(w, "perplexity on %s, %s protocol, stride %d; seed %d", strings.Join(rep.Data, ", "), o.Protocol, o.Stride,
			rep.Seed)
		return
	}
	fmt.Fprintf(w, "\nseed %d\n", rep.Seed)
}

// listed is a row a result.
func listed(rs []eval.Result) [][]string {
	rows := [][]string{{"model", "task", "ctx", "windows", "loss", "ppl", "accuracy", "attn", "positions"}}
	for _, r := range rs {
		row := []string{of(r), r.Task, fmt.Sprint(r.Ctx), "", "", "", "", r.Attn, r.Rope}
		if r.PPL != nil {
			row[3], row[4], row[5] = fmt.Sprint(r.Windows), fmt.Sprintf("%.4f", *r.Loss), r.PPL.String()
		}
		row[6] = found(r)
		rows = append(rows, row)
	}
	return filled(rows)
}

// of is a result's model with its adapter.
func of(r eval.Result) string {
	if r.Adapter != nil {
		return r.Model + " + " + *r.Adapter
	}
	return r.Model
}

// filled is a table without the columns that nothing stands in below their heads.
func filled(rows [][]string) [][]string {
	out := make([][]string, len(rows))
	for i := range rows[0] {
		if slices.ContainsFunc(rows[1:], func(r []string) bool { return r[i] != "" }) {
			for k, r := range rows {
				out[k] = append(out[k], r[i])
			}
		}
	}
	return out
}

// sideBySide is a row a task and length, a column a model. Every model has the same results, in the same order.
func sideBySide(models []string, rs []eval.Result) [][]string {
	rows := [][]string{append([]string{"task", "ctx"}, models...)}
	each := len(rs) / len(models)
	for i := range each {
		row := []string{rs[i].Task, fmt.Sprint(rs[i].Ctx)}
		for m := range models {
			r := rs[m*each+i]
			if r.PPL != nil {
				row = append(row, r.PPL.String())
			} else {
				row = append(row, found(r))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// found is the share that was found again; empty for a perplexity.
func found(r eval.Result) string {
	switch {
	case r.Ruler != nil:
		return fmt.Sprintf("%.1f ± %.1f %%", 100*r.Score, 100*r.StdErr)
	case r.Accuracy != nil:
		return fmt.Sprintf("%.1f %%", 100**r.Accuracy)
	}
	return ""
}

// rulerLike is a table a model: a row a subtask, a column a length.
func rulerLike(w io.Writer, rs []eval.Result) {
	for len(rs) > 0 {
		model := rs[0].Model
		rows := [][]string{{"% found"}}
		for len(rs) > 0 && rs[0].Model == model {
			r := rs[0]
			if rs = rs[1:]; r.Ruler == nil {
				continue
			}
			rows[0] = append(rows[0], fmt.Sprint(r.Ctx))
			for i, s := range append(r.Subtasks, eval.Subtask{Name: "mean", Score: r.Score}, eval.Subtask{Name: "standard error",
				Score: r.StdErr}) {
				if len(rows) == i+1 {
					rows = append(rows, []string{s.Name})
				}
				rows[i+1] = append(rows[i+1], fmt.Sprintf("%.1f", 100*s.Score))
			}
		}
		if len(rows) > 1 {
			fmt.Fprintf(w, "\n%s, %s\n", model, eval.RulerLike)
			ui.Table(w, rows)
		}
	}
}

// missed is a line for each length at which passkeys were missed: what the model wrote instead of the first of them.
// The rest is in --json.
func missed(w io.Writer, rs []eval.Result) {
	head := "\n"
	for _, r := range rs {
		if len(r.Missed) == 0 {
			continue
		}
		m := r.Missed[0]
		fmt.Fprint(w, head)
		ui.Say(w, "%s, passkey at %d: at depth %.3g the model wrote %q where %q was asked for%s", of(r), r.Ctx, m.Depth,
			m.Text, m.Answer, more(len(r.Missed)-1, " (and %d missed besides; --json has all)"))
		head = ""
	}
}

// more is a remark on n others, where there are any.
func more(n int, format string) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(format, n)
}
