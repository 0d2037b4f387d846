package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"longlora/internal/bench"
	"longlora/internal/cli"
	"longlora/internal/dist"
	"longlora/internal/ops"
	"longlora/internal/ui"
)

func newBench() *cobra.Command {
	return command("bench --shape NAME --ctx N[,N…]", "Measure training steps on random weights",
		`Measure real training steps, forward to AdamW, on random weights of a known shape: one row a step, or --batch rows.
Operations are counted as the algorithm needs them; nothing that is made again counts. On a GPU all layers have equal
weights, each its own copy, and mfu is counted against the chip's dense bf16 datasheet rate. With --full-last
steps of both ways of attending are measured, a result each. With --gpus, or under a launcher, the ranks do steps
together, a row each or the rows of --batch divided among them, and --json has what they sent and waited for.`,
		`# a small model on the CPU, in about a minute
longlora bench --shape tiny --ctx 1024,4096,8192

# LLaMA-2 7B on a GPU
longlora bench --shape llama2-7b --ctx 8192,32768 --device-mem 72GiB

# on all GPUs of this machine, a row each
longlora bench --shape llama2-7b --ctx 32768 --gpus all`,
		func(c *cobra.Command, v *cli.Values) error {
			o, err := v.Bench()
			if err != nil {
				return err
			}
			var res []bench.Result
			err = grouped(c, v, func(r rank, be ops.Backend) (err error) {
				for i := range o.At {
					r.fill(&o.At[i])
				}
				all, err := bench.Run(r.ctx, o, be, r.log)
				if r.group.Rank() == 0 {
					res = all
				}
				return err
			})
			if err != nil || len(res) == 0 { // which another process prints
				return err
			}
			if v.JSON() {
				return document(c.OutOrStdout(), map[string]any{"results": res})
			}
			showBench(c.OutOrStdout(), res)
			return nil
		})
}

// showBench writes the results for people.
func showBench(w io.Writer, res []bench.Result) {
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
	ui.KeyedTable(w, 3, filled(rows)) // shape, ctx, attn
	for _, r := range res {
		if r.Traffic != nil {
			fmt.Fprintf(w, "ctx %d, %s: %d rows a step on %d ranks, speeds of all together; %s\n", r.Ctx, r.Attn, r.Rows,
				r.Ranks, exchanged(r.Traffic))
		}
	}
}

// exchanged says what a rank did with the others in a step.
func exchanged(t *dist.Traffic) string {
	s := fmt.Sprintf("of a step's sums a rank sent and received %s, and waited %.4f s for them and %.4f s for other ranks",
		ui.Bytes(int64(t.Sums.Sent)), t.Sums.Waited, t.Words.Waited)
	if n := int64(t.Halos.Received); n > 0 {
		s += fmt.Sprintf("; of halos it received %s, and waited %.4f s", ui.Bytes(n), t.Halos.Waited)
	}
	if n := int64(t.Weights.Received); n > 0 {
		s += fmt.Sprintf("; of sharded weights it read %s", ui.Bytes(n))
	}
	return s
}
