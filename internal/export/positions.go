package export

import (
	"math"
	"strconv"

	"longlora/internal/ckpt"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/rope"
	"longlora/internal/tensor"
)

// positions writes how tokens' places are computed. path names the file that says it.
func (a *arch) positions(g *ckpt.GGUF, b *load.Base, p rope.Positions) error {
	set := func(key string, v any) { g.Add(a.name+".rope."+key, v) }
	d := b.Config.RotaryDim()
	set("dimension_count", uint32(d))
	set("freq_base", float32(p.Theta))
	refuse := func(field, format string, args ...any) error {
		return errs.Dataf("%s: rope scaling, %s: llama.cpp's %s "+format, append([]any{b.Config.Path, field, a.name},
			args...)...)
	}
	switch p.Type {
	case "default":
		return nil
	case "linear":
		set("scaling.type", "linear")
		set("scaling.factor", float32(p.Factor))
		return nil
	case "dynamic":
		return refuse("rope_type dynamic", "has no frequencies that depend on the length of the text. What they are for a "+
			"text of up to %d tokens: %w", p.MaxPos, instead("none", p))
	case "longrope":
		if a.factors != "long" {
			return refuse("rope_type longrope", "has none")
		}
		_, scale := p.InvFreq(d, 0)
		set("scaling.type", "longrope")
		set("scaling.original_context_length", uint32(p.Orig))
		set("scaling.attn_factor", scale)
		long, short := p.Factors()
		g.Tensors = append(g.Tensors, vector("rope_factors_long.weight", long), vector("rope_factors_short.weight", short))
		return nil
	}
	if p.UsualYaRN() {
		_, scale := p.InvFreq(d, 0)
		set("scaling.type", "yarn")
		set("scaling.factor", float32(p.Factor))
		set("scaling.original_context_length", uint32(p.Original()))
		// it multiplies YaRN's own factor of cos and sin
		if own := 1 + 0.1*math.Log(p.Factor); math.Abs(float64(scale)-own) > 1e-6 {
			set("scaling.attn_factor", float32(float64(scale)/own))
		}
		return nil
	}
	if a.factors != "freqs" {
		field := "rope_type " + p.Type
		if p.Type == "yarn" {
			field = "beta_fast, beta_slow or truncate"
		}
		return refuse(field, "has no frequencies of this kind; it has linear, ntk and YaRN's usual ones. To export it with "+
			"some that it was not trained at, which gives other results: %w", instead("ntk", p))
	}
	// any frequencies at all: what each is divided by
	inv, scale := p.InvFreq(d, 0)
	plain, _ := rope.Positions{Type: "default", Theta: p.Theta, Factor: 1}.InvFreq(d, 0)
	for i := range inv {
		inv[i] = plain[i] / inv[i]
	}
	if scale != 1 {
		set("scaling.attn_factor", scale)
	}
	g.Tensors = append(g.Tensors, vector("rope_freqs.weight", inv))
	return nil
}

// instead is a command that exports positions of another type for as many tokens.
func instead(kind string, p rope.Positions) errs.Advice {
	return errs.Advice{{Option: "ctx", Value: strconv.Itoa(p.MaxPos)}, {Option: "rope", Value: kind},
		{Option: "rope-factor"}}
}

// vector is a tensor of one axis in float32.
func vector(name string, v []float32) ckpt.GGUFTensor {
	return ckpt.GGUFTensor{Name: name, Type: ckpt.GGUFF32, Shape: tensor.Shape{len(v)},
		Write: ckpt.FromFloats(name, tensor.Shape{len(v)}, v).Out().Write}
}
