package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"longlora/internal/ckpt"
	"longlora/internal/cli"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/tensor"
)

func newMerge() *cobra.Command {
	return command("merge --model DIR --adapter DIR --out DIR", "Merge an adapter into its base",
		`Merge an adapter into its base and write an ordinary Hugging Face checkpoint with the positions it was trained at.
Reads PEFT adapters and the released LongLoRA form. Streams tensor by tensor.`,
		`# a run of train; the positions come from beside the adapter
longlora merge --model meta-llama/Llama-2-7b-hf --adapter run --out llama2-7b-16k

# the released LongLoRA form, or an adapter that PEFT wrote, says no positions: give the context
longlora merge --model base --adapter released --ctx 32768 --dtype bf16 --out merged

# an adapter trained beside 4-bit weights, onto the 16-bit checkpoint that these were made from
longlora merge --model base-nf4 --adapter run --onto base --out merged

# half of what was trained
longlora merge --model base --adapter run --scale 0.5 --out half`,
		func(c *cobra.Command, v *cli.Values) error {
			m, err := v.Merge()
			if err != nil {
				return err
			}
			return merge(c, m, v.JSON())
		})
}

// merge runs the command.
func merge(c *cobra.Command, m cli.Merge, json bool) error {
	d, ok := map[string]tensor.DType{"fp32": tensor.F32, "bf16": tensor.BF16, "fp16": tensor.F16}[m.DType]
	if dir, err := ckpt.Resolve(m.Model); err == nil && files.SameDir(m.Out, dir) {
		return errs.Usagef("--out %s: is the base (--model); choose another folder", m.Out)
	}
	if err := files.CheckNew(m.Out); err != nil { // before anything is read
		return err
	}
	base, err := load.Open(m.Model, m.Adapter)
	if err != nil {
		return err
	}
	defer base.Close()
	if err := base.ChooseWeights(load.AsStored, m.Adapter, true); err != nil {
		return err
	}
	if base.Adapter.Config.DoRA && m.Scale != 1 {
		return errs.Usagef("--scale %v: the adapter has use_dora, which brings rows to the lengths that were trained; only "+
			"1 is computed", m.Scale)
	}
	if err := base.ChooseWindow(m.Window, m.Adapter); err != nil {
		return err
	}
	for _, n := range base.Notes {
		fmt.Fprintf(c.ErrOrStderr(), "note: %s\n", n)
	}
	onto, trained := base, base.Beside()
	if m.Onto != "" {
		if onto, err = base.Onto(m.Onto); err != nil {
			return err
		}
		defer onto.Close()
		if files.SameDir(m.Out, onto.Dir) {
			return errs.Usagef("--out %s: is the folder of --onto; choose another one", m.Out)
		}
		trained = base.AsTrained()
	}
	pos, err := mergedPositions(c, m, onto)
	if err != nil {
		return err
	}
	if pos.Type == "dynamic" {
		fmt.Fprintf(c.ErrOrStderr(), "note: dynamic positions: max_position_embeddings stays %d\n", pos.MaxPos)
	}
	o := lora.MergeOptions{Base: onto.Weights, Desc: onto.Desc(), Adapter: onto.Adapter, Scale: m.Scale, Trained: trained,
		Positions: pos.Positions, Changed: pos.Changed, Window: base.Window, Out: m.Out, ShardSize: m.ShardSize,
		Threads: m.Threads, Log: c.ErrOrStderr()}
	if ok {
		o.DType = &d
	}
	res, err := lora.Merge(c.Context(), o)
	if err != nil {
		return err
	}
	if m.Scale == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "note: with --scale 0 the adapter is left out: the weights are the base's")
	}
	for _, n := range res.Same {
		fmt.Fprintf(c.ErrOrStderr(), "note: the adapter leaves %s as it is\n", n)
	}
	if json {
		return document(c.OutOrStdout(), res)
	}
	fmt.Fprintln(c.OutOrStdout(), res)
	return nil
}

// mergedPositions are those that are asked for, those beside the adapter, or the base's. A context that a shared file
// has is train's: it is for an adapter that says none itself.
func mergedPositions(c *cobra.Command, m cli.Merge, base *load.Base) (load.Positions, error) {
	p, err := base.Reading(m.Adapter, nil)
	if err != nil {
		return p, err
	}
	switch {
	case m.Positions != nil && !(m.CtxOfFile && (p.Beside != nil || m.Adapter == "")):
		if m.Positions.Ctx < 2 {
			return p, errs.Usagef("--ctx: give the context that the positions are for, 2 or more")
		}
		p, err = base.Reading(m.Adapter, m.Positions)
	case p.Beside == nil && m.Adapter != "":
		p.Note("no positions beside the adapter and no --ctx: the base's are kept (%s, %d tokens)", p, p.MaxPos)
	}
	for _, s := range p.Told() {
		fmt.Fprintln(c.ErrOrStderr(), s)
	}
	return p, err
}
