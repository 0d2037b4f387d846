package export

import (
	"math"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/model"
	"longlora/internal/rope"
)

// check refuses what llama.cpp does not compute of the family, by the field of config.json that asks for it. All that
// is found here llama.cpp would pass over without a word.
func (a *arch) check(b *load.Base, p rope.Positions) error {
	d := b.Desc()
	refuse := func(field, format string, args ...any) error {
		return errs.Dataf("%s: %s: llama.cpp's %s "+format, append([]any{b.Config.Path, field, a.name}, args...)...)
	}
	if a.square && d.H*d.D != d.C {
		return refuse("head_dim", "has heads of hidden_size / num_attention_heads channels, %d, not %d", d.C/d.H, d.D)
	}
	for r, on := range d.Bias {
		if r := model.Role(r); on && !slices.Contains(a.biases, r) {
			field := "attention_bias"
			if r == model.Gate || r == model.Up || r == model.Down {
				field = "mlp_bias"
			}
			return refuse(field, "has no bias in every layer that this adds one to")
		}
	}
	for _, r := range a.always {
		if !d.Bias[r] {
			return refuse("attention_bias", "has biases in attention, which false leaves out")
		}
	}
	if a.noHead && !d.Tied {
		return refuse("tie_word_embeddings", "takes the embedding for the head, and the weights here hold two")
	}
	for l := range d.L {
		if unturned := l < len(d.NoRope) && d.NoRope[l]; d.NoRope != nil && unturned != ((l+1)%4 == 0) {
			return refuse("no_rope_layers", "has none in layers 3, 7, 11 … alone, and layer %d differs", l)
		}
	}
	if a.name == "gemma2" {
		if err := checkGemma(d, refuse); err != nil {
			return err
		}
	}
	return a.checkWindows(d, p, refuse)
}

type refusal func(field, format string, args ...any) error

// checkGemma refuses what Gemma 2 has in any case.
func checkGemma(d model.Desc, refuse refusal) error {
	switch {
	case d.ScoresCap == 0:
		return refuse("attn_logit_softcapping", "always caps scores, and null does not")
	case d.LogitsCap == 0:
		return refuse("final_logit_softcapping", "always caps logits, and null does not")
	}
	return nil
}

// gemmaTimes is what Gemma 2's queries must be multiplied by, because llama.cpp takes the factor of the scores from the
// model's shape and not from query_pre_attn_scalar; 0 where the two agree.
func gemmaTimes(d model.Desc) float32 {
	scalar := float64(d.D)
	if d.L == 46 { // by which it tells the model of 27B parameters
		scalar = float64(d.C / d.H)
	}
	if x := float64(d.ScoresBy) * math.Sqrt(scalar); math.Abs(x-1) > 1e-6 {
		return float32(x)
	}
	return 0
}

// checkWindows refuses sliding windows that the architecture has not. One as long as the context is none.
func (a *arch) checkWindows(d model.Desc, p rope.Positions, refuse refusal) error {
	short := func(w int) bool { return w > 0 && w < p.MaxPos }
	if !slices.ContainsFunc(d.Windows, short) {
		return nil
	}
	for l, w := range d.Windows {
		switch {
		case a.name == "gemma2" && short(w) != (l%2 == 0):
			return refuse("layer_types", "has windows in layers 0, 2, 4 … alone, and layer %d differs", l)
		case a.name != "gemma2" && short(w):
			return errs.Dataf("%w; %w", refuse("sliding_window", "has no sliding windows, and layer %d here sees %d tokens of "+
				"%d. To export it with full attention, which beyond that many tokens gives other results", l, w, p.MaxPos),
				errs.Advice{{Option: "sliding-window", Value: "off"}})
		}
	}
	return nil
}
