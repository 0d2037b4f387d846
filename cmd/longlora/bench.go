package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"longlora/internal/config"
	"longlora/internal/plan"
	"longlora/internal/train"
	"longlora/internal/ui"
)

func newBench() *cobra.Command {
	var b config.Bench
	return command("bench --shape NAME --ctx N[,N…]", "Measure training steps on random weights",
		`Measure real training steps, forward to AdamW, on random weights of a known shape: batch 1, accumulation 1.
Operations are counted as the algorithm needs them; nothing that is made again counts.

  longlora bench --shape tiny --ctx 1024,4096,8192`,
		b.Flags, func(c *cobra.Command, v *config.Values) error {
			if err := b.Finish(v); err != nil {
				return err
			}
			res, err := train.Bench(c.Context(), &b, v, backend(b.Common, c.ErrOrStderr()), c.ErrOrStderr())
			if err != nil {
				return err
			}
			if b.JSON {
				return document(c.OutOrStdout(), map[string]any{"results": res})
			}
			rows := [][]string{{"shape", "ctx", "group", "tile", "s/step", "tok/s", "GFLOP/s", "mfu", "host peak", "host plan"}}
			for _, r := range res {
				rows = append(rows, []string{r.Shape, fmt.Sprint(r.Ctx), fmt.Sprint(r.Group), fmt.Sprint(r.Tile), fmt.Sprintf("%.3f", r.SPerStep), fmt.Sprintf("%.0f", r.TokPerS),
					fmt.Sprintf("%.1f", r.TFLOPS*1e3), fmt.Sprintf("%.2f", r.MFU), plan.Bytes(r.HostPeak), plan.Bytes(r.HostPlan)})
			}
			ui.Table(c.OutOrStdout(), rows)
			return nil
		})
}
