package rope

import (
	"encoding/json"
	"fmt"
	"math"

	"longlora/internal/errs"
)

// reader reads numbers out of a decoded config.json, keeping the first fault.
type reader struct {
	path string
	err  error
}

func (r *reader) fail(field, format string, a ...any) {
	if r.err == nil {
		r.err = errs.Dataf("%s: %s: %s", r.path, field, fmt.Sprintf(format, a...))
	}
}

// number is v, above 0 and at most most; def where v is null or missing.
func (r *reader) number(field string, v any, def, most float64) float64 {
	if v == nil {
		return def
	}
	n, ok := v.(json.Number)
	x, err := n.Float64()
	if !ok || err != nil || !(x > 0) {
		r.fail(field, "%s is not a positive number", errs.Shown(v))
		return def
	}
	if x > most {
		r.fail(field, "%s is more than any model has", errs.Shown(v))
		return def
	}
	return x
}

// length is a whole number of tokens; 0 where v is null or missing.
func (r *reader) length(field string, v any) int {
	const most = 1 << 31
	x := r.number(field, v, 0, most)
	if x != math.Trunc(x) {
		r.fail(field, "%s is not a whole number", errs.Shown(v))
	}
	return int(x)
}

// MaxFactor and maxTheta are far beyond what any model has and what float32 computes well with. A config with more is
// not read, so none is written.
const MaxFactor, maxTheta = 1 << 20, 1e15

// unsaidMaxPos are the lengths of transformers' own classes, which hold where config.json says none.
var unsaidMaxPos = map[any]int{"llama": 2048, "mistral": 131072, "qwen2": 32768, "qwen3": 32768, "phi3": 4096,
	"granite": 2048, "smollm3": 32768, "olmo2": 2048, "gpt_neox": 2048, "gemma2": 8192}

// FromConfig reads positions out of a decoded config.json (numbers as json.Number). Faults name path and field.
func FromConfig(path string, raw map[string]any) (Positions, error) {
	p := Positions{Type: "default", Factor: 1, Dict: map[string]any{}}
	r := &reader{path: path}
	key, dict := r.dict(raw)
	p.old = raw["rope_parameters"] == nil
	p.Type, p.typeKeys = r.kind(key, dict, raw["model_type"] == "phi3")
	p.Theta = r.number("rope_theta", raw["rope_theta"], 10000, maxTheta)
	p.Theta = r.number(key+".rope_theta", dict["rope_theta"], p.Theta, maxTheta)
	p.MaxPos = r.length("max_position_embeddings", raw["max_position_embeddings"])
	p.Orig = r.length("original_max_position_embeddings", raw["original_max_position_embeddings"])
	if n := r.length(key+".original_max_position_embeddings", dict["original_max_position_embeddings"]); n > 0 {
		if computes := p.Type == "yarn" || p.Type == "llama3"; computes && p.Orig > 0 && p.Orig != n {
			r.fail("original_max_position_embeddings", "%d contradicts %s.original_max_position_embeddings, %d; remove one",
				p.Orig, key, n)
		}
		p.Orig = n
	}
	p.maxSeq = r.length("max_sequence_length", raw["max_sequence_length"])
	for k, v := range dict {
		if k != "rope_theta" && k != "type" && k != "rope_type" {
			p.Dict[k] = v
		}
	}
	if p.MaxPos == 0 {
		p.MaxPos = p.unsaid(raw, r)
	}
	switch given := dict["factor"]; {
	case p.Type == "default" && given != nil:
		p.Notes = append(p.Notes, fmt.Sprintf("%s: %s.factor %s has no effect without a type, as in transformers", path, key,
			errs.Shown(given)))
	case p.Type == "default":
	case p.Type == "longrope" && p.Orig == 0:
		r.fail("original_max_position_embeddings", "missing; a scaling of type longrope needs it")
	case given == nil && (p.Type == "yarn" || p.Type == "longrope") && p.Orig > 0:
		p.Factor = float64(p.MaxPos) / float64(p.Orig)
	case given == nil:
		r.fail(key+".factor", "missing; a scaling of type %s needs it", p.Type)
	default:
		p.Factor = r.number(key+".factor", given, 1, MaxFactor)
	}
	p.condense(raw, r)
	if r.err == nil {
		r.err = p.checkFields(path + ": " + key)
	}
	return p, r.err
}

// dict finds the object that holds the scaling, under its newer or its older name. An empty one says nothing.
func (r *reader) dict(raw map[string]any) (key string, dict map[string]any) {
	key = "rope_parameters"
	for _, k := range []string{"rope_parameters", "rope_scaling"} {
		if raw[k] == nil {
			continue
		}
		d, ok := raw[k].(map[string]any)
		if !ok {
			r.fail(k, "%s is not an object", errs.Shown(raw[k]))
		}
		switch {
		case len(d) == 0:
		case dict == nil:
			key, dict = k, d
		case contradict(dict, d):
			r.fail(k, "contradicts %s; remove one", key)
		}
	}
	return key, dict
}

// kind is the scaling's type, and the names of the fields that say it.
func (r *reader) kind(key string, dict map[string]any, phi3 bool) (kind string, names []string) {
	kind = "default"
	for _, k := range []string{"rope_type", "type"} {
		v := dict[k]
		if v == nil {
			continue
		}
		s, ok := v.(string)
		if phi3 && (s == "su" || s == "yarn" && dict["long_factor"] != nil) { // its first names of it
			s = "longrope"
		}
		switch {
		case !ok || !types[s] || s == "longrope" && !phi3:
			r.fail(key+"."+k, "%s is not one of default, linear, dynamic, yarn, llama3, longrope", errs.Shown(v))
		case len(names) > 0 && s != kind:
			r.fail(key+".rope_type", "%s and %s.type %s contradict each other; remove one", kind, key, s)
		}
		kind, names = s, append(names, k)
	}
	return kind, names
}

// unsaid is the length of a config.json without max_position_embeddings: what the first LLaMA configs call
// max_sequence_length, or transformers' default for the kind of model.
func (p *Positions) unsaid(raw map[string]any, r *reader) int {
	if p.maxSeq > 0 {
		return p.maxSeq
	}
	kind := raw["model_type"]
	if list, ok := raw["architectures"].([]any); ok && kind == nil && len(list) == 1 && list[0] == "MistralForCausalLM" {
		kind = "mistral"
	}
	n, ok := unsaidMaxPos[kind]
	if !ok {
		n = unsaidMaxPos["llama"]
	}
	p.Notes = append(p.Notes, fmt.Sprintf("%s: max_position_embeddings is missing: %d, as in transformers", r.path, n))
	return n
}

// condense reads rope_condense_ratio, by which FastChat's LongChat models divide positions: linear scaling under
// another name.
func (p *Positions) condense(raw map[string]any, r *reader) {
	const name = "rope_condense_ratio"
	ratio := r.number(name, raw[name], 1, MaxFactor)
	switch {
	case ratio == 1 || p.Type == "linear" && p.Factor == ratio:
	case p.Type != "default":
		r.fail(name, "%g contradicts the scaling of type %s by %g; remove one", ratio, p.Type, p.Factor)
	default:
		p.Type, p.Factor = "linear", ratio
		p.Notes = append(p.Notes, fmt.Sprintf("%s: %s %g is read as linear scaling by it; transformers passes it over",
			r.path, name, ratio))
	}
}

// contradict reports whether two spellings of a scaling differ in its type or factor.
func contradict(a, b map[string]any) bool {
	kind := func(d map[string]any) any {
		if t := d["rope_type"]; t != nil {
			return t
		}
		return d["type"]
	}
	factor := func(d map[string]any) float64 {
		n, _ := d["factor"].(json.Number)
		x, _ := n.Float64()
		return x
	}
	return kind(a) != kind(b) || factor(a) != factor(b)
}

// checkFields checks the numbers that a type has beside its factor.
func (p Positions) checkFields(where string) error {
	numbers := map[string][]string{"llama3": {"low_freq_factor", "high_freq_factor"}, "yarn": {"beta_fast", "beta_slow",
		"attention_factor", "mscale", "mscale_all_dim"}}
	for _, name := range numbers[p.Type] {
		v := p.Dict[name]
		if n, ok := v.(json.Number); v != nil {
			if x, err := n.Float64(); !ok || err != nil || !(x > 0) {
				return errs.Dataf("%s.%s: %s is not a positive number", where, name, errs.Shown(v))
			}
		}
	}
	if p.Type == "longrope" {
		for _, name := range []string{"short_factor", "long_factor"} {
			if p.list(name) == nil {
				return errs.Dataf("%s.%s: %s is not a list of positive numbers", where, name, errs.Shown(p.Dict[name]))
			}
		}
	}
	switch {
	case p.Type == "llama3" && p.field("high_freq_factor", 4) <= p.field("low_freq_factor", 1):
		return errs.Dataf("%s.high_freq_factor: %v is not above low_freq_factor, %v", where, p.field("high_freq_factor", 4),
			p.field("low_freq_factor", 1))
	case p.Type == "yarn" && p.field("beta_fast", 32) < p.field("beta_slow", 1):
		return errs.Dataf("%s.beta_fast: %v is below beta_slow, %v", where, p.field("beta_fast", 32), p.field("beta_slow", 1))
	}
	return nil
}
