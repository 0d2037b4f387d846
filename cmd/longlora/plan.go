package main

import (
	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/machine"
	"longlora/internal/ops"
	"longlora/internal/plan"
)

func newPlan() *cobra.Command {
	return command("plan --model DIR|--shape NAME --ctx N", "Say what a step needs and takes, without loading a weight",
		`Say where every byte of a training step goes and how long it takes, without loading a weight.
Takes train's options. --max-ctx finds the longest context that fits. What does not fit is exit 3.`,
		`# will it fit here?
longlora plan --model meta-llama/Llama-2-7b-hf --ctx 16384

# and on a card that is not here, beside something that takes 7 GiB
longlora plan --shape llama2-7b --ctx 32768 --chip h100 --device-mem 72GiB

# the longest context in a given memory
longlora plan --shape llama2-7b --chip rtx4090 --max-ctx --host-mem 64GiB`,
		func(c *cobra.Command, v *cli.Values) error {
			o, chip, err := v.Plan()
			if err != nil {
				return err
			}
			if m, ok := machine.Named(chip); ok {
				return runPlan(c, v, o, m)
			}
			at := v.Place()
			if chip == "cpu" {
				at.Kind = chip
			}
			return onDevice(at, c.ErrOrStderr(), func(be ops.Backend) error { return runPlan(c, v, o, machine.Here(be)) })
		})
}

func runPlan(c *cobra.Command, v *cli.Values, o plan.Options, m machine.Machine) error {
	res, err := plan.Run(o, m)
	if err != nil {
		return err
	}
	if a := res.Advised(); a != nil {
		res.Command = v.Command(a)
	}
	if v.JSON() {
		res.PrintNotes(c.ErrOrStderr())
		err = document(c.OutOrStdout(), res)
	} else {
		res.Print(c.OutOrStdout())
	}
	if err != nil {
		return err
	}
	return res.Refusal()
}
