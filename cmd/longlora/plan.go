package main

import (
	"github.com/spf13/cobra"

	"longlora/internal/config"
	"longlora/internal/train"
)

func newPlan() *cobra.Command {
	var p config.Plan
	return command("plan --model DIR|--shape NAME --ctx N", "Say what a step needs and takes, without loading a weight",
		`Say where every byte of a training step goes and how long it takes, without loading a weight.
Takes train's options. --max-ctx finds the longest context that fits. What does not fit is exit 3.

  longlora plan --model meta-llama/Llama-2-7b-hf --ctx 16384
  longlora plan --shape llama2-7b --max-ctx --host-mem 64GiB`,
		p.Flags, func(c *cobra.Command, v *config.Values) error {
			if err := p.Finish(v); err != nil {
				return err
			}
			res, err := train.Plan(&p, v, backend(p.Common, c.ErrOrStderr()))
			if err != nil {
				return err
			}
			if p.JSON {
				err = document(c.OutOrStdout(), res)
			} else {
				res.Print(c.OutOrStdout())
			}
			if err != nil {
				return err
			}
			return res.Refusal()
		})
}
