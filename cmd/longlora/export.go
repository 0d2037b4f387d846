package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"longlora/internal/ckpt"
	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/export"
	"longlora/internal/load"
)

func newExport() *cobra.Command {
	return command("export --model DIR --out FILE.gguf", "Write a model as a GGUF file for llama.cpp",
		`Write a model as one GGUF file, which llama.cpp, Ollama and what is built on them load: weights, tokenizer, chat
template and positions. An adapter is merged on the way. Streams tensor by tensor. What llama.cpp does not compute is
refused by the field that asks for it.`,
		`# a merged model, in the type of its weights
longlora export --model merged --out model.gguf

# base and adapter, with weights in 8 bits; the positions come from beside the adapter
longlora export --model meta-llama/Llama-2-7b-hf --adapter run --type q8_0 --out llama2-7b-16k.gguf`,
		func(c *cobra.Command, v *cli.Values) error {
			o, err := v.Export()
			if err != nil {
				return err
			}
			return runExport(c, o, v.JSON())
		})
}

// runExport runs the command.
func runExport(c *cobra.Command, o cli.Export, json bool) error {
	if err := ckpt.CheckGGUF(o.Out, "out"); err != nil { // before anything is read
		return err
	}
	base, err := load.Open(o.Model, o.Adapter)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := base.ChooseWeights(load.AsStored, o.Adapter, true); err != nil {
		return err
	}
	if base.Adapter == nil && o.Scale != 1 {
		return errs.Usagef("--scale %v: there is nothing to scale without --adapter; leave it out", o.Scale)
	}
	if base.Adapter != nil && base.Adapter.Config.DoRA && o.Scale != 1 {
		return errs.Usagef("--scale %v: the adapter has use_dora, which brings rows to the lengths that were trained; only "+
			"1 is computed", o.Scale)
	}
	if err := base.ChooseWindow(o.Window, o.Adapter); err != nil {
		return err
	}
	onto, trained, err := base, base.Beside(), error(nil)
	if o.Onto != "" {
		if base.Adapter == nil {
			return errs.Usagef("--onto %s: there is nothing to merge without --adapter; give that folder as --model", o.Onto)
		}
		if onto, err = base.Onto(o.Onto); err != nil {
			return err
		}
		defer onto.Close()
		trained = base.AsTrained()
	}
	pos, err := mergedPositions(c, o.Merge, onto)
	if err != nil {
		return err
	}
	res, err := export.Run(c.Context(), export.Options{Base: onto, Positions: pos.Positions, Scale: o.Scale, Type: o.Type,
		Trained: trained, Name: export.Called(o.Model), Out: o.Out, Threads: o.Threads})
	for _, n := range append(base.Notes, res.Notes...) {
		fmt.Fprintf(c.ErrOrStderr(), "note: %s\n", n)
	}
	if err != nil {
		return err
	}
	for _, n := range res.Same {
		fmt.Fprintf(c.ErrOrStderr(), "note: the adapter leaves %s as it is\n", n)
	}
	if !strings.EqualFold(filepath.Ext(o.Out), ".gguf") {
		fmt.Fprintf(c.ErrOrStderr(), "note: %s: a name that does not end in .gguf, by which GGUF files are known; "+
			"what is in it is one\n", o.Out)
	}
	if json {
		return document(c.OutOrStdout(), res)
	}
	fmt.Fprintln(c.OutOrStdout(), res)
	return nil
}
