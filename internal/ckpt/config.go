package ckpt

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/hub"
	"longlora/internal/model"
	"longlora/internal/tensor"
)

// Config is what the program needs of a Hugging Face config.json, and the whole of it for writing it again.
type Config struct {
	model.Desc // the model; whether it is tied the weights decide, see Model.Tied
	Path       string
	InitRange  float64
	DType      tensor.DType // the checkpoint's, float32 when nothing says it
	EOS        []int
	Raw        map[string]any
	Notes      []string // fields that are there and have no effect
}

// layers is their number; each is a dozen tensors, so a wrong one must not be walked through.
func (f *fields) layers() int {
	const name, most = "num_hidden_layers", 1 << 10
	n := f.count(name, -1)
	if n > most {
		f.fail(name, "%d is more than any model has", n)
		return 1
	}
	return n
}

// ReadConfigAs decodes dir/config.json into v. Where there is none it says what the folder is instead.
func ReadConfigAs(dir string, v any) error {
	path := filepath.Join(dir, "config.json")
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if what := instead(dir); what != nil {
			return what
		}
		if hub.Download(dir) != "" {
			return errs.Dataf("%s: there is no such file; %s", path, refetch(dir))
		}
	}
	return files.ReadJSON(path, v)
}

// ReadConfig reads and checks dir/config.json.
func ReadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "config.json")
	f := &fields{path: path}
	if err := ReadConfigAs(dir, &f.raw); err != nil {
		return nil, err
	}
	if f.raw == nil {
		return nil, errs.Dataf("%s: null where an object is wanted", path)
	}
	return f.config()
}

// config reads and checks the fields.
func (f *fields) config() (*Config, error) {
	c := &Config{Path: f.path, Raw: f.raw}
	if c.Arch = f.architecture(); c.Arch == nil {
		return nil, f.err
	}
	c.C, c.F, c.L = f.size("hidden_size", -1), f.size("intermediate_size", -1), f.layers()
	c.H, c.V = f.size("num_attention_heads", -1), f.size("vocab_size", -1)
	kv := c.H // null means the heads in transformers too
	if _, said := f.raw["num_key_value_heads"]; !said && c.Arch.Config.KVHeads > 0 {
		kv = c.Arch.Config.KVHeads
	}
	c.Hkv = f.size("num_key_value_heads", kv)
	if c.D = c.Arch.Config.HeadDim; c.D == 0 {
		if f.raw["head_dim"] == nil && c.C%c.H != 0 {
			f.fail("num_attention_heads", "%d heads do not divide hidden_size %d, and head_dim is not given", c.H, c.C)
		}
		c.D = max(1, c.C/c.H)
	}
	c.D = f.size("head_dim", c.D)
	if c.Has(model.QKV) && c.H != c.Hkv {
		f.fail("num_key_value_heads", "%d: a %s has one for each of %d heads", c.Hkv, c.Arch.Class, c.H)
	}
	if c.H%c.Hkv != 0 {
		f.fail("num_key_value_heads", "%d does not divide num_attention_heads %d", c.Hkv, c.H)
	}
	f.rotary(c)
	f.magnitude(c)
	eps, spread := cmp.Or(c.Arch.Config.Eps, 1e-6), f.num("initializer_range", 0.02)
	epsName := cmp.Or(c.Arch.Config.EpsName, "rms_norm_eps")
	eps = f.num(epsName, eps)
	c.Eps, c.InitRange = float32(eps), spread
	for name, x := range map[string]float64{epsName: eps, "initializer_range": spread} {
		if !(x >= 0 && x < 1) {
			f.fail(name, "%v is not between 0 and 1", x)
		}
	}
	if c.Tied = c.Arch.Config.Tied; f.raw["tie_word_embeddings"] != nil {
		c.Tied = f.flag("tie_word_embeddings")
	}
	f.own(c)
	f.windows(c)
	f.refuse(c)
	c.DType = f.dtype()
	c.EOS = f.ids("eos_token_id")
	return c, f.err
}

// Positions is config.json as positions are read from it: with the family's own theta where none is given, and its
// name.
func (c *Config) Positions() map[string]any {
	raw := maps.Clone(c.Raw)
	raw["model_type"] = c.Arch.Type
	if name := c.Arch.Config.ThetaName; name != "" && raw[name] != nil {
		raw["rope_theta"] = raw[name]
	}
	if raw["rope_theta"] == nil && c.Arch.Config.Theta > 0 {
		raw["rope_theta"] = json.Number(strconv.FormatFloat(c.Arch.Config.Theta, 'f', -1, 64))
	}
	return raw
}

// magnitude refuses sizes whose products are beyond any model's: with these bounds bytes and operations of a step of
// 2^31 tokens can be counted in 64 bits.
func (f *fields) magnitude(c *Config) {
	const widest, most = 1 << 20, 1 << 28
	wide := func(name string, n int) {
		if n > widest {
			f.fail(name, "%d is more than any model has", n)
		}
	}
	wide("hidden_size", c.C)
	wide("intermediate_size", c.F)
	wide("head_dim", c.D)
	if n := c.H * c.D; n > widest { // each at most 2^24
		f.fail("num_attention_heads", "%d heads of %d channels are more than any model has", c.H, c.D)
	}
	if n := c.L * (2*c.C + 3*c.F + 4*c.H*c.D); f.err == nil && n > most {
		f.fail("num_hidden_layers", "%d layers of this width are more than any model has", c.L)
	}
}

// architecture is the family, nil after a fault.
func (f *fields) architecture() (a *model.Arch) {
	list, ok := f.raw["architectures"].([]any)
	class := ""
	switch {
	case f.raw["architectures"] == nil || ok && len(list) == 0:
		for _, known := range model.Archs {
			if f.raw["model_type"] == known.Type {
				class = known.Class
			}
		}
		if class == "" {
			f.fail("architectures", "missing; %s are supported", model.Classes())
			return nil
		}
	case len(list) == 1:
		class, _ = list[0].(string)
	}
	if class == "LLaMAForCausalLM" { // as the first conversions wrote it
		class = model.Llama.Class
	}
	if a = model.ArchOf(class); a == nil {
		f.fail("architectures", "%s is not supported; %s are", errs.Shown(f.raw["architectures"]), model.Classes())
		return nil
	}
	if m := f.raw["model_type"]; m != nil && m != a.Type {
		f.fail("model_type", "%s contradicts architectures, %s", errs.Shown(m), a.Class)
	}
	return a
}

// rotary reads how much of a head is turned, and in which layers.
func (f *fields) rotary(c *Config) {
	name, share := "partial_rotary_factor", 1.0
	plain, unsaid := cmp.Or(c.Arch.Config.PartialName, name), cmp.Or(c.Arch.Config.PartialDefault, 1)
	for _, n := range []string{"rope_scaling", "rope_parameters"} {
		if d, _ := f.raw[n].(map[string]any); d[name] != nil {
			in := fields{path: f.path, raw: map[string]any{n + "." + name: d[name]}}
			share, name = in.num(n+"."+name, 1), n+"."+name
			f.err = cmp.Or(f.err, in.err)
			break
		}
	}
	if name == "partial_rotary_factor" {
		name = plain
		share = f.num(name, unsaid)
	}
	switch turned := int(float64(c.D) * share); {
	case share == 1 && c.D%2 != 0:
		f.fail("head_dim", "%d is odd; rotary positions need pairs", c.D)
	case share == 1:
	case !c.Arch.Config.Partial:
		f.fail(name, "%v is not supported for a %s, only 1", share, c.Arch.Class)
	case !(share > 0 && share < 1) || turned%2 != 0 || turned == 0:
		f.fail(name, "%v of a head of %d channels is no even number of channels above 0", share, c.D)
	default:
		c.Rotary = turned
	}
	if c.Arch.Config.NoRope {
		f.noRope(c)
	}
}

// activation reads what the MLP's gate goes through.
func (f *fields) activation(c *Config) {
	fam := c.Arch.Config
	name, acts := cmp.Or(fam.ActName, "hidden_act"), fam.Acts
	if acts == nil {
		acts = map[string]model.Activation{"silu": model.SiLU, "swish": model.SiLU} // two names of one function
	}
	v := f.raw[name]
	if v == nil {
		v = cmp.Or(fam.ActDefault, "silu")
	}
	said, _ := v.(string)
	act, ok := acts[said]
	if c.Act = act; !ok {
		f.fail(name, "%s is not supported, only %s", errs.Shown(v), strings.Join(slices.Sorted(maps.Keys(acts)), ", "))
	}
}

// noRope reads which layers have no positions: where no_rope_layers, 1 for a layer that has them, is missing, every one
// of so many.
func (f *fields) noRope(c *Config) {
	const name, interval = "no_rope_layers", "no_rope_layer_interval"
	c.NoRope = make([]bool, c.L)
	list, ok := f.raw[name].([]any)
	if f.raw[name] == nil {
		every := f.count(interval, 4)
		for l := range c.NoRope {
			c.NoRope[l] = (l+1)%every == 0
		}
		return
	}
	if !ok || len(list) != c.L {
		f.fail(name, "%s is not a list of %d layers, as num_hidden_layers says", errs.Shown(f.raw[name]), c.L)
		return
	}
	for l, v := range list {
		switch errs.Shown(v) {
		case "0", "false":
			c.NoRope[l] = true
		case "1", "true":
		default:
			f.fail(name, "%s of layer %d is neither 0 nor 1", errs.Shown(v), l)
		}
	}
}

// own reads the family's own fields.
func (f *fields) own(c *Config) {
	if c.Arch.Config.Always != nil {
		c.Arch.Config.Always(&c.Desc)
	}
	for _, x := range c.Arch.Config.Numbers {
		if v, said := f.raw[x.Name]; said && v == nil { // null: nothing of the kind
			continue
		}
		v := f.num(x.Name, x.Default)
		if !(v > 0 && v < 1e6) {
			f.fail(x.Name, "%v is not a number above 0 and below a million", v)
		}
		x.Set(&c.Desc, v)
	}
	for _, x := range c.Arch.Config.Flags {
		on := f.flag(x.Name)
		if f.raw[x.Name] == nil {
			on = x.Default
		}
		switch {
		case on && x.Set == nil:
			f.fail(x.Name, "true is not supported for a %s, which has nothing of the kind in transformers", c.Arch.Class)
		case on:
			x.Set(&c.Desc)
		}
	}
}

// refuse names what the model does not compute.
func (f *fields) refuse(c *Config) {
	f.activation(c)
	if a, ok := f.raw["is_causal"]; ok && a != true { // transformers takes null for false
		f.fail("is_causal", "%s is not supported, only true: tokens would see those after them", errs.Shown(a))
	}
	if field, method := quantisedConfig(f.raw); field != "" && f.err == nil {
		f.err = quantisedError(f.path, field, method)
	}
	for _, n := range slices.Sorted(maps.Keys(f.raw)) {
		dropout := strings.HasSuffix(n, "dropout") || strings.HasSuffix(n, "pdrop")
		none := []string{"null", "0", "0.0", "false"}
		if v := errs.Shown(f.raw[n]); dropout && !slices.Contains(none, v) || n == "pretraining_tp" && f.num(n, 1) != 1 {
			c.Notes = append(c.Notes, fmt.Sprintf("%s: %.80s %s is ignored", f.path, n, v))
		}
	}
}

func (f *fields) dtype() tensor.DType {
	for _, n := range []string{"dtype", "torch_dtype"} {
		v := f.raw[n]
		if v == nil {
			continue
		}
		s, _ := v.(string)
		switch strings.TrimPrefix(s, "torch.") {
		case "float32":
			return tensor.F32
		case "bfloat16":
			return tensor.BF16
		case "float16":
			return tensor.F16
		case "auto": // the weights say it
			continue
		}
		f.fail(n, "%s is not one of float32, bfloat16, float16", errs.Shown(v))
	}
	return tensor.F32
}
