package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/ops"
	"longlora/internal/ops/cpu"
	"longlora/internal/proc"
	"longlora/internal/train"
)

// command makes a subcommand whose options are loaded from all sources before it runs.
func command(use, short, long, example string, flags func(*pflag.FlagSet), f func(c *cobra.Command, v *config.Values) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions, RunE: func(c *cobra.Command, _ []string) error {
		v, err := config.Load(c.Flags(), known(c))
		if err != nil {
			return err
		}
		for _, n := range v.Notes() {
			fmt.Fprintf(c.ErrOrStderr(), "note: %s\n", n)
		}
		err = proc.Intact(func() error { return f(c, v) })
		var other *load.Meant
		if errors.As(err, &other) {
			err = errs.Dataf("%w. The command for it: %s", err, v.Command(config.Change{Option: "adapter", Value: other.Adapter}))
		}
		if err != nil {
			return computed{err}
		}
		return nil
	}}
	c.Flags().SortFlags = false
	flags(c.Flags())
	completeFlags(c)
	return c
}

// document prints one JSON document.
func document(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func newTrain() *cobra.Command {
	var t config.Train
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
		t.Flags, func(c *cobra.Command, v *config.Values) error {
			if err := t.Finish(v, "model", "data", "ctx", "out"); err != nil {
				return err
			}
			return onDevice(t.Common, &t.Attend, c.ErrOrStderr(), func(be ops.Backend) error { return runTrain(c, &t, be) })
		})
}

func runTrain(c *cobra.Command, t *config.Train, be ops.Backend) error {
	if t.DryRun {
		facts, err := train.DryRun(c.Context(), t, be, c.ErrOrStderr())
		if err != nil || !t.JSON {
			return err
		}
		return document(c.OutOrStdout(), facts)
	}
	res, err := train.Run(c.Context(), t, be, c.ErrOrStderr())
	if err != nil {
		return err
	}
	if t.JSON {
		return document(c.OutOrStdout(), res)
	}
	fmt.Fprintf(c.OutOrStdout(), "%d steps, loss %.4f, %d tokens in %.1f s: %s\n", res.Steps, res.Loss, res.Tokens, res.Seconds, res.Out)
	return nil
}

func newVersion() *cobra.Command {
	var common config.Common
	return command("version", "Print the version", "Print the program's version and what it was built with.",
		`# which kernels does it use here?
longlora version

# for a program to read
longlora version --json`, common.Flags,
		func(c *cobra.Command, _ *config.Values) error {
			v := map[string]string{"version": proc.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "cpu": cpu.New(1).Set()}
			if common.JSON {
				return document(c.OutOrStdout(), v)
			}
			fmt.Fprintf(c.OutOrStdout(), "longlora %s (%s, %s, kernels %s)\n", v["version"], v["go"], v["platform"], v["cpu"])
			return nil
		})
}

// commands are all subcommands.
func commands() []*cobra.Command {
	return []*cobra.Command{newExtend(), newTrain(), newMerge(), newEval(), newPlan(), newBench(), newGenerate(), newPrepare(), newReport(), newDoctor(), newMan(), newVersion()}
}

// known are the options of all commands, which a shared file may hold.
func known(c *cobra.Command) config.Known {
	out := config.Known{}
	for _, sub := range c.Root().Commands() {
		sub.LocalFlags().VisitAll(out.Add)
	}
	return out
}
