package main

import (
	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/machine"
	"longlora/internal/ops"
	"longlora/internal/plan"
)

func newPlan() *cobra.Command {
	return command("plan --model DIR|--shape NAME --ctx N[,N…]",
		"Say what a step needs and takes, without loading a weight",
		`Say whether a training run fits and how long it takes, where every byte goes, and how a step is carried out, without
loading a weight. Takes train's options. Several lengths or chips give a table. --max-ctx finds the longest context that
fits. What does not fit is exit 3; of several, where none fits. A model that is not here is planned for where its name
is known, as meta-llama/Llama-2-7b-hf.`,
		`# will it fit here, and how long will 1000 steps take?
longlora plan --model meta-llama/Llama-2-7b-hf --ctx 16384 --steps 1000

# which card, which length?
longlora plan --shape llama3-8b --ctx 8k,16k,32k --chip rtx4090,a6000,h100,16GiB --host-mem 64GiB

# on a card that is not here, beside something that takes 7 GiB
longlora plan --shape llama2-7b --ctx 32768 --chip h100 --device-mem 72GiB

# the longest context in a given memory
longlora plan --shape llama2-7b --chip rtx4090 --max-ctx --host-mem 64GiB`,
		func(c *cobra.Command, v *cli.Values) error {
			o, err := v.Plan()
			if err != nil {
				return err
			}
			var plans []*plan.Planned
			for _, chip := range o.Chips {
				err := onChip(c, v, chip, func(m machine.Machine) error {
					for _, at := range o.At {
						p, err := plan.Run(at, m)
						if err != nil {
							return err
						}
						plans = append(plans, p)
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			return showPlans(c, v, plans)
		})
}

// onChip calls f with a chip that is not here, or with this machine.
func onChip(c *cobra.Command, v *cli.Values, chip string, f func(machine.Machine) error) error {
	if m, ok := cli.Chip(chip); ok {
		return f(m)
	}
	at := v.Place()
	if chip == "cpu" {
		at.Kind = chip
	}
	return onDevice(at, c.ErrOrStderr(), func(be ops.Backend) error { return f(machine.Here(be)) })
}

// showPlans prints one plan, or a table of several. What does not fit is refused, a table where nothing in it fits.
func showPlans(c *cobra.Command, v *cli.Values, plans []*plan.Planned) error {
	first := plans[0]
	refusal := first.Refusal()
	for _, p := range plans {
		if p.Fits {
			refusal = nil
		}
	}
	if len(plans) > 1 && !v.JSON() {
		plan.Table(c.OutOrStdout(), plans)
		return refusal
	}
	if a := first.Advised(); a != nil && len(plans) == 1 {
		first.Command = v.Command(a)
	}
	for i, d := range first.Divisions {
		if a := d.Advice(); a != nil {
			first.Divisions[i].Command = v.Command(a)
		}
	}
	if !v.JSON() {
		first.Print(c.OutOrStdout())
		return refusal
	}
	first.PrintNotes(c.ErrOrStderr())
	var doc any = first
	if len(plans) > 1 {
		doc = map[string]any{"results": plans}
	}
	if err := document(c.OutOrStdout(), doc); err != nil {
		return err
	}
	return refusal
}
