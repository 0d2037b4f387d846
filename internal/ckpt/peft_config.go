package ckpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// AdapterConfig is PEFT's adapter_config.json of a LoRA adapter, as releases 0.3 to 0.21 write it: which modules have
// low-rank factors, of which rank and scale, and which are saved whole.
type AdapterConfig struct {
	Path    string
	Rank    int     // r
	Alpha   float64 // lora_alpha
	Dropout float64
	DoRA    bool // use_dora
	RSLoRA  bool // use_rslora: the scale is alpha/√r
	VeLoRA  bool // velora_config: a backward pass of its own
	KeepTie bool // ensure_weight_tying: what is done to the embedding is done to a head tied to it
	Notes   []string

	match                     *matcher
	targets, excluded, saved  selection
	ranks, alphas             patterns
	layers                    []int    // layers_to_transform; nil for all
	layersPattern             []string // what stands before a layer's number; empty for anything
	tokens                    tokenRows
	raw                       map[string]any
	rankPattern, alphaPattern ordered
}

// rundir.AdapterConfigFile is the file's name in an adapter's folder.

// NewAdapterConfig is the configuration of an adapter that begins: factors of one rank for linear layers with these
// last parts of their names.
func NewAdapterConfig(rank int, alpha float64, rslora bool, targets []string) *AdapterConfig {
	return &AdapterConfig{Rank: rank, Alpha: alpha, RSLoRA: rslora, raw: map[string]any{"target_modules": targets,
		"use_rslora": rslora}}
}

// uncomputed are fields whose effect the program does not compute; null, false and empty have none.
var uncomputed = []string{"lora_bias", "use_qalora", "layer_replication", "target_parameters",
	"alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config",
	"enable_lora"}

// harmless are fields that change nothing of what a finished adapter computes.
var harmless = []string{"auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "inference_mode",
	"loftq_config", "lora_ga_config", "megatron_config", "megatron_core", "merge_weights", "peft_version",
	"qalora_group_size", "revision", "runtime_config", "task_type",
	"fan_in_fan_out", // PEFT itself takes it for false of a linear layer
	"velora_config"}  // of the backward pass alone

// followed are the fields that are read.
var followed = []string{"peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules",
	"modules_to_save", "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "use_rslora", "use_dora",
	"bias", "init_lora_weights", "ensure_weight_tying", "trainable_token_indices"}

// baseChanging begins the kinds of initialisation after which the base's own weights are others.
var baseChanging = []string{"pissa", "olora", "corda", "loftq", "lora_ga"}

// readAdapterConfig reads and checks dir/adapter_config.json.
func readAdapterConfig(dir string) (*AdapterConfig, error) {
	path := filepath.Join(dir, rundir.AdapterConfigFile)
	if !files.Exists(path) {
		return nil, noAdapter(dir)
	}
	c := &AdapterConfig{Path: path}
	f := &fields{path: path}
	if err := files.ReadJSON(path, &f.raw); err != nil {
		return nil, err
	}
	var texts map[string]json.RawMessage
	if err := files.ReadJSON(path, &texts); err != nil {
		return nil, err
	}
	for name, o := range map[string]*ordered{"rank_pattern": &c.rankPattern, "alpha_pattern": &c.alphaPattern} {
		if b := texts[name]; len(b) > 0 {
			if err := json.Unmarshal(b, o); err != nil {
				f.fail(name, "%v", err)
			}
		}
	}
	c.raw = f.raw
	c.read(f)
	return c, f.err
}

// read fills the configuration from the fields.
func (c *AdapterConfig) read(f *fields) {
	if t := f.raw["peft_type"]; t != "LORA" {
		f.fail("peft_type", "%s is not LORA", errs.Shown(t))
	}
	for _, name := range uncomputed {
		if means(f.raw[name]) {
			f.fail(name, "%s is not supported; merge the adapter with PEFT and give the merged model", errs.Shown(f.raw[name]))
		}
	}
	init, _ := f.raw["init_lora_weights"].(string)
	for _, k := range baseChanging {
		if strings.HasPrefix(strings.ToLower(init), k) {
			f.fail("init_lora_weights", "%q changes the base's weights and is not supported; convert the adapter to plain "+
				"LoRA with PEFT (path_initial_model_for_weight_conversion)", init)
		}
	}
	if b := f.raw["bias"]; b != nil && b != "none" && b != "all" && b != "lora_only" {
		f.fail("bias", "%s is not one of none, all, lora_only", errs.Shown(b))
	}
	c.Rank, c.Alpha, c.Dropout = f.count("r", -1), f.num("lora_alpha", 8), f.num("lora_dropout", 0)
	c.DoRA, c.RSLoRA, c.KeepTie = f.flag("use_dora"), f.flag("use_rslora"), f.flag("ensure_weight_tying")
	c.VeLoRA = means(f.raw["velora_config"])
	c.match = &matcher{f: f}
	c.targets, c.excluded = c.match.selection("target_modules"), c.match.selection("exclude_modules")
	c.saved = c.match.selection("modules_to_save")
	c.ranks = c.match.patterns("rank_pattern", c.rankPattern)
	c.alphas = c.match.patterns("alpha_pattern", c.alphaPattern)
	for _, p := range c.ranks {
		if p.value != math.Trunc(p.value) || p.value < 1 || p.value > 1<<31 {
			f.fail("rank_pattern", "%v of %q is not a whole number from 1 to 2^31", p.value, p.key)
		}
	}
	c.tokens = readTokenRows(f)
	c.layers, c.layersPattern = f.ids("layers_to_transform"), f.texts("layers_pattern")
	for _, name := range slices.Sorted(maps.Keys(f.raw)) {
		if means(f.raw[name]) && !slices.Contains(slices.Concat(followed, harmless, uncomputed), name) {
			c.Notes = append(c.Notes, fmt.Sprintf("%s: %s is not a field of PEFT's LoRA and is passed over", f.path, name))
		}
	}
}

// means reports whether a field's value says anything: null, false, and empty lists, objects and texts do not.
func means(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}

// TrainsTokens reports whether some rows of embedding or head were trained alone: trainable_token_indices.
func (c *AdapterConfig) TrainsTokens() bool { return len(c.tokens) > 0 }

// rank is the rank of a module's factors.
func (c *AdapterConfig) rank(module string) int {
	return int(c.ranks.of(c.match, "rank_pattern", module, float64(c.Rank)))
}

// scale is the factor of a module's B·A.
func (c *AdapterConfig) scale(module string) float64 {
	r, alpha := float64(c.rank(module)), c.alphas.of(c.match, "alpha_pattern", module, c.Alpha)
	if c.RSLoRA {
		r = math.Sqrt(r)
	}
	return alpha / r
}

// Saves reports whether modules_to_save names a module or one that it is part of. PEFT compares endings without regard
// to dots: "norm" is every norm.
func (c *AdapterConfig) Saves(module string) bool {
	for end := 0; end < len(module); end++ {
		if next := strings.IndexByte(module[end:], '.'); next >= 0 {
			end += next
		} else {
			end = len(module)
		}
		for _, name := range c.saved.names {
			if name != "" && strings.HasSuffix(module[:end], name) {
				return true
			}
		}
	}
	return false
}

// targeted reports whether a matrix's module has factors, as PEFT's check_target_module_exists has it.
func (c *AdapterConfig) targeted(module string) bool {
	m := c.match
	if m.selects(c.excluded, "exclude_modules", module) || m.within(c.saved.names, module) {
		return false
	}
	switch {
	case c.targets.whole != "" || c.targets.linear:
		return m.selects(c.targets, "target_modules", module)
	case slices.Contains(c.targets.names, module):
		return true
	case !m.selects(c.targets, "target_modules", module):
		return false
	}
	return len(c.layers) == 0 || slices.Contains(c.layers, m.layer(module, c.layersPattern))
}

// without says which field leaves a module without factors.
func (c *AdapterConfig) without(module string) string {
	m := c.match
	named := c.targets.given && m.selects(c.targets, "target_modules", module)
	switch {
	case named && m.selects(c.excluded, "exclude_modules", module):
		return "exclude_modules names"
	case named && m.within(c.saved.names, module):
		return "modules_to_save names"
	case named && c.layersPattern != nil:
		return "layers_to_transform, counted behind layers_pattern, leaves out"
	case named:
		return "layers_to_transform leaves out"
	}
	return "target_modules does not name"
}

// ordered is a JSON object of numbers with the order of its keys, which decides where several match.
type ordered []struct {
	key   string
	value json.Number
}

// UnmarshalJSON reads the object; null is an empty one.
func (o *ordered) UnmarshalJSON(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		if t == nil {
			return err
		}
		return fmt.Errorf("%v where an object of names and numbers is wanted", t)
	}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return err
		}
		v, err := dec.Token()
		if err != nil {
			return err
		}
		n, ok := v.(json.Number)
		if !ok {
			return fmt.Errorf("%v of %v is not a number", v, k)
		}
		*o = append(*o, struct {
			key   string
			value json.Number
		}{k.(string), n})
	}
	return nil
}

// MarshalJSON writes the object in its order.
func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o {
		key, err := json.Marshal(p.key)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.WriteString(p.value.String())
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// texts are a text or a list of them; empty ones mean nothing.
func (f *fields) texts(name string) (out []string) {
	list, ok := f.raw[name].([]any)
	if !ok {
		list = []any{f.raw[name]}
	}
	for _, v := range list {
		s, ok := v.(string)
		if !ok && v != nil {
			f.fail(name, "%s is not a text", errs.Shown(v))
		}
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}
