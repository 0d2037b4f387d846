package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/extend"
	"longlora/internal/ops"
	"longlora/internal/report"
	"longlora/internal/rundir"
	"longlora/internal/train"
	"longlora/internal/ui"
)

func newExtend() *cobra.Command {
	return command("extend --model DIR --data PATH --ctx N --out DIR", "Evaluate, train, merge, evaluate again, report",
		`Extend a model in one command: evaluate the base, train, merge, evaluate again, and print what it brought.
--out holds merged/ (an ordinary checkpoint), adapter/, report.json and report.html. Interrupted,
the same command goes on.`,
		`# LLaMA-2 7B from 4k to 16k on a folder of books, to extended/merged; extended/report.html shows what it brought
longlora extend --model meta-llama/Llama-2-7b-hf --data books/ --ctx 16384 --out extended

# only new positions, no training: what YaRN alone brings
longlora extend --model base --data books/ --ctx 8192 --rope yarn --train=false --out interpolated`,
		func(c *cobra.Command, v *cli.Values) error {
			o, err := v.Extend()
			if err != nil {
				return err
			}
			n, err := trainers(c, v, &o)
			if err != nil || n == 0 {
				return err
			}
			if o.DryRun {
				return onDevice(v.Place(), c.ErrOrStderr(), func(be ops.Backend) error {
					would, err := extend.DryRun(c.Context(), &o, be, c.ErrOrStderr())
					if err != nil || !v.JSON() {
						return err
					}
					return document(c.OutOrStdout(), would)
				})
			}
			page := filepath.Join(o.Out, rundir.PageFile)
			if _, err := os.Stat(page); err == nil {
				if err := report.CheckFile(page); err != nil { // said now, not after hours of work
					return fmt.Errorf("--out: %w", err)
				}
			}
			tell, err := v.Notify()
			if err != nil {
				return err
			}
			var rep extend.Report
			err = onDevice(v.Place(), c.ErrOrStderr(), func(be ops.Backend) (err error) {
				rep, err = extend.Run(c.Context(), &o, be, c.ErrOrStderr())
				return err
			})
			notify(c, tell, rep, err)
			if err != nil {
				return err
			}
			p, err := report.Dir(rep.Out, c.ErrOrStderr())
			if err == nil {
				err = p.Write(page)
			}
			if err != nil {
				return err
			}
			if v.JSON() {
				return document(c.OutOrStdout(), rep)
			}
			rep.Table(c.OutOrStdout())
			tellResult(c.OutOrStdout(), rep, o.Model)
			fmt.Fprintf(c.OutOrStdout(), "\nmerged model: %s/merged\nreport: %s\n", rep.Out, page)
			return nil
		})
}

// tellResult says in sentences what the table means: on what it was measured, how far the model reads now, and what
// became of the base's own length.
func tellResult(w io.Writer, rep extend.Report, model string) {
	kept, lost := rep.Kept()
	for _, s := range []string{rep.On(), rep.Reached(), kept} {
		if s != "" {
			fmt.Fprintln(w)
			ui.Say(w, "%s", s)
		}
	}
	switch {
	case !lost || rep.Train == nil:
	case !rep.ByTraining():
		ui.Say(w, "It is the new positions that cost it, not the training, more of which may win it back.")
	default:
		ui.Say(w, "A smaller part of the training may keep more of it (docs/quality.md#how-much-of-it-merge---scale):")
		fmt.Fprintf(w, "  longlora merge --model %s --adapter %s --scale 0.75 --out %s\n", errs.Quoted(model),
			errs.Quoted(filepath.Join(rep.Out, rundir.AdapterDir)), errs.Quoted(filepath.Clean(rep.Out)+"-0.75"))
	}
}

// trainers is how many processes train, 1 for this one alone. A process that extend started to train does that here,
// and there are none then.
func trainers(c *cobra.Command, v *cli.Values, o *extend.Options) (int, error) {
	p, n, all, err := v.Ranks()
	if err != nil {
		return 0, err
	}
	if p.Size > 1 {
		return 0, asRank(c, p, v.Place(), c.ErrOrStderr(), v.Chain(), func(r rank, be ops.Backend) error {
			t := o.Training()
			r.fill(t)
			_, err := train.Run(r.ctx, t, be, r.log)
			return err
		})
	}
	if n, err = count(v, n, all, c.ErrOrStderr()); err == nil && n > 1 && o.DoTrain {
		if o.Ranks, err = imagined(n, v); err != nil { // for what is said before
			return n, err
		}
		o.Train = func(ctx context.Context) error { return launch(ctx, n, c.ErrOrStderr()) }
	}
	return n, err
}
