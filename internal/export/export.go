// Package export writes a model as one GGUF file, llama.cpp's format: weights, tokenizer, chat template, positions.
// What llama.cpp computes of a family, and under which names, stands in a table (arch.go); what it does not compute is
// refused by the field that asks for it (check.go).
package export

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/ckpt"
	"longlora/internal/data/template"
	"longlora/internal/errs"
	"longlora/internal/load"
	"longlora/internal/lora"
	"longlora/internal/model"
	"longlora/internal/proc"
	"longlora/internal/rope"
	"longlora/internal/tensor"
	"longlora/internal/tokenizer"
)

// Options say what is exported, and how.
type Options struct {
	Base      *load.Base // with the adapter, where there is one
	Positions rope.Positions
	Scale     float64 // how much the adapter counts
	// a matrix as it was trained beside, where that may differ from the base's; nil: none
	Trained func(s model.TensorSpec) (ckpt.Tensor, error)
	Type    string // auto, f32, f16, bf16 or q8_0
	Name    string // what the model is called
	Out     string // the file
	Threads int    // 0: all cores
}

// Exported says what was written.
type Exported struct {
	Out     string   `json:"out"`
	Arch    string   `json:"architecture"`
	Type    string   `json:"type"` // of most matrices
	Tensors int      `json:"tensors"`
	Changed int      `json:"changed"` // by the adapter
	Same    []string `json:"unchanged_adapter_tensors"`
	Ctx     int      `json:"ctx"`
	Tokens  string   `json:"tokenizer"` // llama.cpp's name for how texts are cut
	Notes   []string `json:"-"`         // what the user should be told
	*lora.Distance
}

// String sums the export up.
func (e Exported) String() string {
	s := fmt.Sprintf("%s, %d tensors, %s, %d tokens, tokenizer %s: %s", e.Arch, e.Tensors, e.Type, e.Ctx, e.Tokens, e.Out)
	if d := e.Distance; d != nil {
		s += fmt.Sprintf("\nbase_distance %.6g, adapter_size %.6g: as of merge", d.Base, d.Adapter)
	}
	return s
}

// Run writes the file. Weights are streamed, as a merge does; the file appears when it is whole.
func Run(ctx context.Context, o Options) (Exported, error) {
	e := Exported{Out: o.Out, Ctx: o.Positions.MaxPos}
	cfg := o.Base.Config
	a, ok := archs[cfg.Arch]
	if !ok {
		return e, errs.Dataf("%s: architectures: llama.cpp's form of a %s is not known here", cfg.Path, cfg.Arch.Class)
	}
	if err := a.check(o.Base, o.Positions); err != nil {
		return e, err
	}
	tok, err := tokenizer.Load(o.Base.Dir, cfg.EOS)
	if err != nil {
		return e, err
	}
	v, err := tok.Vocabulary(cfg.V)
	if err != nil {
		return e, err
	}
	e.Arch, e.Tokens, e.Notes = a.name, v.Pre, append(tok.Notes(), v.Notes...)
	if v.Model == "llama" {
		e.Tokens = "sentencepiece"
	}
	if cfg.Act == model.GELU {
		e.Notes = append(e.Notes, fmt.Sprintf("%s: %s computes its GELU by tanh in llama.cpp, where the model's is exact: "+
			"logits differ in the third or fourth digit", cfg.Path, cfg.Arch.Class))
	}
	if x := gemmaTimes(o.Base.Desc()); a.name == "gemma2" && x != 0 {
		e.Notes = append(e.Notes, fmt.Sprintf("%s: query_pre_attn_scalar: llama.cpp takes this number from the model's "+
			"shape; to make up for it the weights of the queries are written times %g", cfg.Path, x))
	}
	g := &ckpt.GGUF{}
	t := o.tensorType()
	e.Type = t.String()
	g.Add("general.architecture", a.name)
	g.Add("general.type", "model")
	g.Add("general.name", named(o.Name, v))
	g.Add("general.file_type", map[ckpt.GGUFType]uint32{ckpt.GGUFF32: 0, ckpt.GGUFF16: 1, ckpt.GGUFQ8: 7,
		ckpt.GGUFBF16: 32}[t])
	g.Add("general.quantization_version", uint32(2))
	a.describe(g, o.Base, o.Positions)
	if err := a.positions(g, o.Base, o.Positions); err != nil {
		return e, err
	}
	if err := addTokenizer(g, v, o.Base); err != nil {
		return e, err
	}
	s := &lora.Stream{Base: o.Base.Weights, Adapter: o.Base.Adapter, Scale: o.Scale, Out: o.Out, Threads: o.Threads,
		Trained: o.Trained}
	d := o.Base.Desc()
	if s.Adapter == nil || o.Scale == 0 {
		s.Adapter, d.Tied = &ckpt.Adapter{}, o.Base.Weights.Tied
	}
	if err := o.addTensors(ctx, g, s, &a, d, t); err != nil {
		return e, err
	}
	if err := proc.Intact(func() error { return ckpt.WriteGGUF(o.Out, g) }); err != nil {
		return e, err
	}
	e.Tensors, e.Changed, e.Same = len(g.Tensors), s.Changed, s.Same
	if x := s.Distance; x != nil {
		e.Distance = &lora.Distance{Base: math.Sqrt(x.Base), Adapter: math.Sqrt(x.Adapter)}
	}
	return e, nil
}

// named is what the file calls the model. llama.cpp lets special tokens take the white space behind them by that name
// alone: where it has phi-3 or phi3 in it.
func named(name string, v *tokenizer.Vocabulary) string {
	lower := strings.ToLower(name)
	phi := strings.Contains(lower, "phi-3") || strings.Contains(lower, "phi3")
	switch {
	case v.Strips && !phi:
		return "Phi-3 " + name
	case !v.Strips && phi:
		for _, s := range []string{"phi-3", "phi3"} {
			for i := strings.Index(lower, s); i >= 0; i = strings.Index(lower, s) {
				name = name[:i+3] + " " + strings.TrimPrefix(name[i+3:], "-")
				lower = strings.ToLower(name)
			}
		}
	}
	return name
}

// tensorType is the type of matrices: the one asked for, or that of the base's embedding.
func (o *Options) tensorType() ckpt.GGUFType {
	switch cfg := o.Base.Config; {
	case o.Type != "auto":
		return map[string]ckpt.GGUFType{"f32": ckpt.GGUFF32, "f16": ckpt.GGUFF16, "bf16": ckpt.GGUFBF16,
			"q8_0": ckpt.GGUFQ8}[o.Type]
	case o.Base.Weights.Quantised():
		return ckpt.GGUFBF16
	default:
		return ckpt.GGUFOf(o.Base.Weights.Tensors[cfg.EmbedName()].DType)
	}
}

// describe writes the model's numbers.
func (a *arch) describe(g *ckpt.GGUF, b *load.Base, p rope.Positions) {
	d := b.Desc()
	set := func(key string, v any) { g.Add(a.name+"."+key, v) }
	set("vocab_size", uint32(d.V))
	set("context_length", uint32(p.MaxPos))
	set("embedding_length", uint32(d.C))
	set("block_count", uint32(d.L))
	set("feed_forward_length", uint32(d.F))
	set("attention.head_count", uint32(d.H))
	set("attention.head_count_kv", uint32(d.Hkv))
	set("attention.key_length", uint32(d.D))
	set("attention.value_length", uint32(d.D))
	if a.name == "gptneox" {
		set("attention.layer_norm_epsilon", d.Eps)
		set("use_parallel_residual", d.Parallel)
	} else {
		set("attention.layer_norm_rms_epsilon", d.Eps)
	}
	switch a.name {
	case "granite": // 1 is the same as none
		set("embedding_scale", or1(d.EmbedBy))
		set("attention.scale", or1(d.ScoresBy))
		set("residual_scale", or1(d.BranchBy))
		set("logit_scale", 1/or1(d.LogitsBy))
	case "gemma2":
		set("attn_logit_softcapping", d.ScoresCap)
		set("final_logit_softcapping", d.LogitsCap)
		w := p.MaxPos // a window of the whole context is none
		if len(d.Windows) > 0 && slices.Max(d.Windows) > 0 {
			w = min(w, slices.Max(d.Windows))
		}
		set("attention.sliding_window", uint32(w))
	}
}

// or1 is x, or 1 where it is 0.
func or1(x float32) float32 {
	if x == 0 {
		return 1
	}
	return x
}

// addTokenizer writes tokens, merges and the chat template.
func addTokenizer(g *ckpt.GGUF, v *tokenizer.Vocabulary, b *load.Base) error {
	types := make([]int32, len(v.Types))
	for i, t := range v.Types {
		types[i] = int32(t)
	}
	g.Add("tokenizer.ggml.model", v.Model)
	g.Add("tokenizer.ggml.pre", v.Pre)
	g.Add("tokenizer.ggml.tokens", v.Tokens)
	g.Add("tokenizer.ggml.token_type", types)
	if v.Model == "llama" {
		g.Add("tokenizer.ggml.scores", v.Scores)
		g.Add("tokenizer.ggml.add_space_prefix", v.Space)
	} else {
		g.Add("tokenizer.ggml.merges", v.Merges)
	}
	for _, n := range []struct{ name, key string }{{"bos", "bos_token_id"}, {"eos", "eos_token_id"},
		{"unk", "unknown_token_id"}, {"sep", "seperator_token_id"}, {"pad", "padding_token_id"}} { // the format's spelling
		if id, ok := v.Named[n.name]; ok {
			g.Add("tokenizer.ggml."+n.key, uint32(id))
		}
	}
	for _, id := range b.Config.EOS { // a second one ends an answer too
		if eos, ok := v.Named["eos"]; ok && id >= 0 && id < len(v.Tokens) && int32(id) != eos {
			g.Add("tokenizer.ggml.eot_token_id", uint32(id))
			break
		}
	}
	g.Add("tokenizer.ggml.add_bos_token", len(v.Prefix) > 0)
	g.Add("tokenizer.ggml.add_eos_token", false)
	chat, err := template.ChatTemplate(b.Dir)
	if err == nil && chat != "" {
		g.Add("tokenizer.chat_template", chat)
	}
	return err
}

// addTensors lists the weights.
func (o *Options) addTensors(ctx context.Context, g *ckpt.GGUF, s *lora.Stream, a *arch, d model.Desc,
	t ckpt.GGUFType) error {
	own := o.Base.Weights.Quantised() || o.Type != "auto"
	add := func(s *lora.Stream, name string, spec model.TensorSpec) error {
		base, err := o.Base.Weights.Get(spec.Name, spec.Shape)
		if err != nil {
			return err
		}
		kind := t
		switch {
		case spec.Kind != model.KindMatrix || t == ckpt.GGUFQ8 && spec.Shape[1]%32 != 0:
			kind = ckpt.GGUFF32
		case !own:
			kind = ckpt.GGUFOf(base.DType)
		}
		as := lora.As{Coding: kind.Coding(), Row: a.row(spec, d), Option: "type"}
		if spec.Norm() && d.Arch.Norms == model.RMSNormsPlus1 {
			as.Plus = 1
		}
		if a.name == "gemma2" && spec.Role == model.Q {
			as.Times = gemmaTimes(d)
		}
		g.Tensors = append(g.Tensors, ckpt.GGUFTensor{Name: name, Type: kind, Shape: spec.Shape,
			Write: func(w io.Writer) error { return s.Write(ctx, w, spec, base, as) }})
		return nil
	}
	for _, spec := range d.Tensors() {
		if err := add(s, a.tensorName(spec), spec); err != nil {
			return err
		}
	}
	if a.head && d.Tied { // the embedding once more, counted once
		again := *s
		spec := d.Tensors()[0]
		err := add(&again, "output.weight", model.TensorSpec{Name: spec.Name, Role: model.Head, Kind: spec.Kind, Layer: -1,
			Shape: tensor.Shape{d.V, d.C}})
		if err != nil {
			return err
		}
	}
	last := &g.Tensors[len(g.Tensors)-1]
	write := last.Write
	last.Write = func(w io.Writer) error { // before the file gets its name
		if err := write(w); err != nil {
			return err
		}
		return s.Unused()
	}
	return nil
}

// Called is what a model is called: the last part of its folder's name or of its name on the Hub.
func Called(m string) string {
	if abs, err := filepath.Abs(m); err == nil {
		m = abs
	}
	return filepath.Base(m)
}
