package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"longlora/internal/cli"
	"longlora/internal/data"
	"longlora/internal/load"
	"longlora/internal/plan"
	"longlora/internal/proc"
	"longlora/internal/ui"
)

func newPrepare() *cobra.Command {
	return command("prepare --model DIR --data PATH --out F.bin", "Tokenize data once, for training that starts at once",
		`Tokenize data once, on all cores, into a file of token ids that train maps without any start-up cost.
Beside F.bin lie F.bin.json and F.bin.idx, with the documents' boundaries and masks and what it was made of: it
trains exactly as its source would. Interrupted, the same command goes on. Needs config.json and the tokenizer only.`,
		`# a folder of books, with a table of how long they are; then: train --data books.bin
longlora prepare --model meta-llama/Llama-2-7b-hf --data books/ --out books.bin --stats

# instructions; the mask of what is scored lies in sft.bin.idx
longlora prepare --model base --data LongAlpaca-12k.json --template longalpaca --out sft.bin`,
		func(c *cobra.Command, v *cli.Values) error {
			p, err := v.Prepare()
			if err != nil {
				return err
			}
			return prepare(c, p, v.JSON())
		})
}

// prepare runs the command.
func prepare(c *cobra.Command, p cli.Prepare, json bool) error {
	if p.Threads > 0 {
		runtime.GOMAXPROCS(p.Threads)
	}
	if err := data.CheckOut(p.Out); err != nil {
		return err
	}
	dir, vocab, eos, err := load.TokenizerOf(p.Model)
	if err != nil {
		return err
	}
	o, tok, err := load.Documents(dir, vocab, eos, p.Data)
	if err != nil {
		return err
	}
	if tok == nil {
		return o.NoEncoder
	}
	if o.HostMem, err = (plan.Memory{}).HostLimit(); err != nil {
		return err
	}
	o.Log = c.ErrOrStderr()
	res, err := data.Prepare(c.Context(), o, p.Out, proc.Version())
	if err != nil {
		return err
	}
	out := struct {
		*data.Prepared
		Stats *data.Lengths `json:"stats,omitempty"`
	}{Prepared: res}
	if p.Stats != nil {
		if out.Stats, err = data.MeasureLengths(p.Out, p.Stats); err != nil {
			return err
		}
	}
	if json {
		return document(c.OutOrStdout(), out)
	}
	w := c.OutOrStdout()
	ui.Say(w, "%s, %s from %s in %s: %s", ui.Count(res.Documents, "document"), ui.Count(res.Tokens, "token"),
		ui.Bytes(res.Bytes), ui.Duration(res.Seconds), res.Out)
	if res.Skipped > 0 {
		fmt.Fprintf(w, "malformed documents that were skipped: %d\n", res.Skipped)
	}
	if out.Stats != nil {
		lengths(c, out.Stats)
	}
	return nil
}

// lengths prints how long documents are.
func lengths(c *cobra.Command, l *data.Lengths) {
	w := c.OutOrStdout()
	rows := [][]string{{"document's tokens", "documents", "tokens", "this long or longer"}}
	for _, b := range l.Histogram {
		rows = append(rows, []string{fmt.Sprintf("%d to %d", b.From, b.To), fmt.Sprint(b.Documents), fmt.Sprint(b.Tokens),
			fmt.Sprintf("%.1f %%", 100*b.Beyond)})
	}
	ui.Table(w, rows)
	rows = [][]string{{"--ctx", "whole documents", "tokens in them", "in longer ones"}}
	for _, u := range l.AtCtx {
		rows = append(rows, []string{fmt.Sprint(u.Ctx), fmt.Sprintf("%.1f %%", 100*u.Whole), fmt.Sprintf("%.1f %%",
			100*u.Within), fmt.Sprintf("%.1f %%", 100*u.Longer)})
	}
	ui.Table(w, rows)
}
