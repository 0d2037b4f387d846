package main

import (
	"fmt"
	"math"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"longlora/internal/ckpt"
	"longlora/internal/config"
	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/rope"
	"longlora/internal/tensor"
)

type mergeOptions struct {
	config.Common
	config.Window
	config.Rope
	model, adapter, out, dtype, shard string
	ctx                               int
	scale                             float64
}

func (m *mergeOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&m.model, "model", "", "the base: a folder, or a Hugging Face name in the local cache")
	f.StringVar(&m.adapter, "adapter", "", "PEFT adapter, or the released LongLoRA form")
	f.StringVar(&m.out, "out", "", "folder to write the merged checkpoint into")
	config.TokensVar(f, &m.ctx, "ctx", 0, "context to set the positions for (default what lies beside the adapter)")
	m.WindowFlags(f)
	m.RopeFlags(f)
	f.StringVar(&m.dtype, "dtype", "auto", "type of the written weights: auto (the base's), fp32, bf16 or fp16")
	config.OneOf(f, "dtype", "auto", "fp32", "bf16", "fp16")
	f.Float64Var(&m.scale, "scale", 1, "how much the adapter counts: 1 as it was trained, 0 not at all; any other number between or beyond")
	f.StringVar(&m.shard, "max-shard-size", "5GiB", "size of a shard")
	m.Flags(f)
	m.DeviceFlags(f) // merging is work for the disk and the CPU, wherever it is asked for
}

func newMerge() *cobra.Command {
	var m mergeOptions
	return command("merge --model DIR --adapter DIR --out DIR", "Merge an adapter into its base",
		`Merge an adapter into its base and write an ordinary Hugging Face checkpoint with the positions it was trained at.
Reads PEFT adapters and the released LongLoRA form. Streams tensor by tensor.`,
		`# a run of train; the positions come from beside the adapter
longlora merge --model meta-llama/Llama-2-7b-hf --adapter run --out llama2-7b-16k

# the released LongLoRA form, or an adapter that PEFT wrote, says no positions: give the context
longlora merge --model base --adapter released --ctx 32768 --dtype bf16 --out merged

# half of what was trained
longlora merge --model base --adapter run --scale 0.5 --out half`,
		m.flags, func(c *cobra.Command, v *config.Values) error {
			if err := v.Require("model", "adapter", "out"); err != nil {
				return err
			}
			if err := m.CheckRope(v); err != nil {
				return err
			}
			if err := m.CheckPlace(); err != nil {
				return err
			}
			return m.run(c, v)
		})
}

func (m *mergeOptions) run(c *cobra.Command, v *config.Values) error {
	d, ok := map[string]tensor.DType{"fp32": tensor.F32, "bf16": tensor.BF16, "fp16": tensor.F16}[m.dtype]
	size, err := config.ParseBytes("max-shard-size", m.shard)
	if err != nil {
		return err
	}
	if math.IsNaN(m.scale) || math.IsInf(m.scale, 0) {
		return errs.Usagef("--scale %v: a finite number is wanted", m.scale)
	}
	if dir, err := ckpt.Resolve(m.model); err == nil && files.SameDir(m.out, dir) {
		return errs.Usagef("--out %s: is the base (--model); choose another folder", m.out)
	}
	if err := files.CheckNew(m.out); err != nil { // before anything is read
		return err
	}
	base, err := load.Open(m.model, m.adapter)
	if err != nil {
		return err
	}
	defer base.Close()
	if base.Adapter.Config.DoRA && m.scale != 1 {
		return errs.Usagef("--scale %v: the adapter has use_dora, which brings rows to the lengths that were trained; only 1 is computed", m.scale)
	}
	if err := base.ChooseWindow(m.AskedWindow(v), m.adapter); err != nil {
		return err
	}
	for _, n := range base.Notes {
		fmt.Fprintf(c.ErrOrStderr(), "note: %s\n", n)
	}
	pos, err := m.positions(c, v, base)
	if err != nil {
		return err
	}
	if pos.Type == "dynamic" {
		fmt.Fprintf(c.ErrOrStderr(), "note: dynamic positions: max_position_embeddings stays %d\n", pos.MaxPos)
	}
	o := lora.MergeOptions{Base: base.Weights, Desc: base.Desc(), Adapter: base.Adapter, Scale: m.scale, Positions: pos.Positions, Changed: pos.Changed, Window: base.Window, Out: m.out, ShardSize: size, Threads: m.Threads}
	if ok {
		o.DType = &d
	}
	res, err := lora.Merge(c.Context(), o)
	if err != nil {
		return err
	}
	if m.scale == 0 {
		fmt.Fprintln(c.ErrOrStderr(), "note: with --scale 0 the adapter is left out: the weights are the base's")
	}
	for _, n := range res.Same {
		fmt.Fprintf(c.ErrOrStderr(), "note: the adapter leaves %s as it is\n", n)
	}
	if m.JSON {
		return document(c.OutOrStdout(), res)
	}
	fmt.Fprintln(c.OutOrStdout(), res)
	return nil
}

// positions are the flags', those beside the adapter, or the base's. A context that a shared file has is train's.
func (m *mergeOptions) positions(c *cobra.Command, v *config.Values, base *load.Base) (load.Positions, error) {
	p, err := base.Reading(m.adapter, nil)
	if err != nil {
		return p, err
	}
	switch {
	case m.Asked(v) || v.Explicit("ctx") && (p.Beside == nil || !v.InFile("ctx")):
		if m.ctx < 2 {
			return p, errs.Usagef("--ctx: give the context that the positions are for, 2 or more")
		}
		p, err = base.Reading(m.adapter, &rope.Request{Rope: m.Rope.Rope, Factor: m.Factor, BaseCtx: m.BaseCtx, Ctx: m.ctx})
	case p.Beside == nil:
		p.Note("no positions beside the adapter and no --ctx: the base's are kept (%s, %d tokens)", p, p.MaxPos)
	}
	for _, s := range p.Told() {
		fmt.Fprintln(c.ErrOrStderr(), s)
	}
	return p, err
}
