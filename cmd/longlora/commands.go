package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/proc"
	"longlora/internal/rundir"
	"longlora/internal/train"
	"longlora/internal/ui"
)

// command makes a subcommand whose options are loaded from all sources before it runs.
func command(use, short, long, example string, f func(c *cobra.Command, v *cli.Values) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: optionsAlone,
		ValidArgsFunction: cobra.NoFileCompletions, RunE: func(c *cobra.Command, _ []string) error {
			v, err := cli.Load(c.LocalFlags())
			if err != nil {
				return err
			}
			if p := place(); p.Rank == 0 && !p.Launched { // who started it has said it
				v.Say(func(note string) { fmt.Fprintf(c.ErrOrStderr(), "note: %s\n", note) })
			}
			err = proc.Intact(func() error { return f(c, v) })
			var other *load.Meant
			if errors.As(err, &other) {
				err = errs.Dataf("%w. The command for it: %w", err, errs.Advice{{Option: "adapter", Value: other.Adapter}})
			}
			if err != nil {
				return computed{v.Tell(err)}
			}
			return nil
		}}
	cli.Define(c.Name(), c.Flags())
	return c
}

// document prints one JSON document.
func document(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func newTrain() *cobra.Command {
	return command("train --model DIR --data PATH --ctx N --out DIR", "Fine-tune a model at a longer context",
		`Fine-tune a model at a longer context with shifted sparse attention, LoRA, and trainable embedding and norms.
--out becomes a PEFT adapter. The same command goes on where an interrupted run stopped, to the same bits.`,
		`# the paper's way; interrupt it and type it again: it goes on from its last checkpoint
longlora train --model meta-llama/Llama-2-7b-hf --data books/ --ctx 16384 --out run

# from a recipe: what it will take, and the first row, before anything is trained
longlora train --config configs/llama2-7b-16k.yaml --dry-run

# instructions, in a card of 24 GiB, seeing by the way what shifted attention costs against full attention
longlora train --model base --data chats.jsonl --ctx 8192 --device-mem 24GiB --out sft \
  --eval-fraction 0.01 --eval-every 50 --eval-attn s2,full`,
		func(c *cobra.Command, v *cli.Values) error {
			o, err := v.Train()
			if err != nil {
				return err
			}
			tell, err := v.Notify()
			if err != nil {
				return err
			}
			var res rundir.Result
			first := os.Getenv("RANK") == "" || os.Getenv("RANK") == "0"
			err = grouped(c, v, func(r rank, be ops.Backend) (err error) {
				first = r.group.Rank() == 0
				res, err = runTrain(c, v, &o, r, be)
				return err
			})
			if first && !o.DryRun {
				notify(c, tell, res, err)
			}
			return err
		})
}

func runTrain(c *cobra.Command, v *cli.Values, o *train.Options, r rank, be ops.Backend) (res rundir.Result,
	err error) {
	r.fill(o)
	if o.DryRun {
		facts, err := train.DryRun(r.ctx, o, be, r.log)
		if err != nil || !v.JSON() {
			return res, err
		}
		return res, document(c.OutOrStdout(), facts)
	}
	if res, err = train.Run(r.ctx, o, be, r.log); err != nil || r.group.Rank() > 0 {
		return res, err
	}
	if v.JSON() {
		return res, document(c.OutOrStdout(), res)
	}
	over, validation := "", ""
	if n := res.Steps / 10; n > 1 {
		over = fmt.Sprintf(" over the last %d", n)
	}
	if v := res.Validation.Words(); v != "" {
		validation = ", validation loss " + v
	}
	ui.Say(c.OutOrStdout(), "%s, loss %.4f%s%s, %d tokens in %s: %s", ui.Count(res.Steps, "step"), res.LossMean, over,
		validation, res.Tokens, ui.Duration(res.Seconds), res.Out)
	return res, nil
}

func newVersion() *cobra.Command {
	return command("version", "Print the version", "Print the program's version and what it was built with.",
		`# which kernels does it use here?
longlora version

# for a program to read
longlora version --json`,
		func(c *cobra.Command, o *cli.Values) error {
			if !o.JSON() {
				fmt.Fprintln(c.OutOrStdout(), versionLine())
				return nil
			}
			return document(c.OutOrStdout(), map[string]string{"version": proc.Version(), "commit": proc.Commit(),
				"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "cpu": cpu.New(1).Set()})
		})
}

// versionLine is what version and --version print.
func versionLine() string {
	commit := proc.Commit()
	if commit == "" {
		commit = "not known"
	}
	return fmt.Sprintf("longlora %s (commit %s, %s, %s/%s, kernels %s)", proc.Version(), commit, runtime.Version(),
		runtime.GOOS, runtime.GOARCH, cpu.New(1).Set())
}

// commands are all subcommands.
func commands() []*cobra.Command {
	return []*cobra.Command{newExtend(), newTrain(), newMerge(), newExport(), newEval(), newPlan(), newBench(),
		newGenerate(), newPrepare(), newReport(), newDoctor(), newMan(), newVersion()}
}
