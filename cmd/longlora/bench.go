package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"longlora/internal/bench"
	"longlora/internal/cli"
	"longlora/internal/ops"
	"longlora/internal/ui"
)

func newBench() *cobra.Command {
	return command("bench --shape NAME --ctx N[,N…]", "Measure training steps on random weights",
		`Measure real training steps, forward to AdamW, on random weights of a known shape: one row a step, or --batch rows.
Operations are counted as the algorithm needs them; nothing that is made again counts. On a GPU all layers have equal
weights, each its own copy, and mfu is counted against the chip's dense bf16 datasheet rate. With --full-last steps of both
ways of attending are measured, a result each.`,
		`# a small model on the CPU, in about a minute
longlora bench --shape tiny --ctx 1024,4096,8192

# LLaMA-2 7B on a GPU
longlora bench --shape llama2-7b --ctx 8192,32768 --device-mem 72GiB`,
		func(c *cobra.Command, v *cli.Values) error {
			o, err := v.Bench()
			if err != nil {
				return err
			}
			var res []bench.Result
			err = onDevice(v.Place(), c.ErrOrStderr(), func(be ops.Backend) (err error) {
				res, err = bench.Run(c.Context(), o, be, c.ErrOrStderr())
				return err
			})
			if err != nil {
				return err
			}
			if v.JSON() {
				return document(c.OutOrStdout(), map[string]any{"results": res})
			}
			rows := [][]string{{"shape", "ctx", "attn", "group", "tile", "device", "s/step", "tok/s", "TFLOP/s", "mfu",
				"device peak", "device plan", "host peak", "host plan"}}
			known := func(text string, is bool) string { // a CPU has no memory of its own, and no datasheet rate
				if !is {
					return ""
				}
				return text
			}
			for _, r := range res {
				rows = append(rows, []string{r.Shape, fmt.Sprint(r.Ctx), r.Attn, fmt.Sprint(r.Group), fmt.Sprint(r.Tile), r.Device,
					fmt.Sprintf("%.3f", r.SPerStep), fmt.Sprintf("%.0f", r.TokPerS), fmt.Sprintf("%.3g", r.TFLOPS),
					known(fmt.Sprintf("%.2f", r.MFU), r.MFU > 0), known(ui.Bytes(r.DevicePeak), r.DevicePeak > 0),
					known(ui.Bytes(r.DevicePlan), r.DevicePlan > 0), ui.Bytes(r.HostPeak), ui.Bytes(r.HostPlan)})
			}
			ui.Table(c.OutOrStdout(), filled(rows))
			return nil
		})
}
