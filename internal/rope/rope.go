// Package rope says where tokens stand: rotary positions (RoFormer, arXiv 2104.09864), how a checkpoint spells
// their scaling, and how they change when the context is extended.
package rope

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"longlora/internal/errs"
)

// Positions are a checkpoint's rotary positions, in one form for both spellings of config.json.
type Positions struct {
	Type   string         // default, linear, dynamic, yarn or llama3
	Theta  float64        // base of the frequencies
	Factor float64        // 1 for default
	MaxPos int            // max_position_embeddings
	Orig   int            // the pre-training length that the config states, 0 when it does not
	Dict   map[string]any // every field of the dictionary as it stands, rope_theta left out
	maxSeq int            // max_sequence_length, 0 when missing
	old    bool           // spelled rope_scaling, not rope_parameters
}

// Request is what the command line asks for.
type Request struct {
	Rope    string  // auto, none, linear, ntk, dynamic, yarn, llama3
	Factor  float64 // 0: not given
	BaseCtx int     // 0: not given
	Ctx     int
}

var types = map[string]bool{"default": true, "linear": true, "dynamic": true, "yarn": true, "llama3": true}

// FromConfig reads positions out of a decoded config.json (numbers as json.Number). Faults name path and field.
func FromConfig(path string, raw map[string]any) (Positions, error) {
	p := Positions{Type: "default", Factor: 1, Theta: 10000, Dict: map[string]any{}}
	num := func(where string, v any) (float64, error) {
		n, ok := v.(json.Number)
		f, err := n.Float64()
		if !ok || err != nil || !(f > 0) || math.IsInf(f, 0) {
			return 0, errs.Dataf("%s: %s: %v is not a positive number", path, where, v)
		}
		return f, nil
	}
	key, dict := "rope_parameters", map[string]any(nil)
	for _, k := range []string{"rope_parameters", "rope_scaling"} {
		if raw[k] == nil {
			continue
		}
		d, ok := raw[k].(map[string]any)
		if !ok {
			return p, errs.Dataf("%s: %s: not an object", path, k)
		}
		if dict == nil {
			key, dict = k, d
		} else if contradict(dict, d) {
			return p, errs.Dataf("%s: rope_parameters and rope_scaling contradict each other; remove one", path)
		}
	}
	_, hasParams := raw["rope_parameters"]
	p.old = !hasParams
	for _, k := range []string{"rope_type", "type"} {
		if v := dict[k]; v != nil {
			s, ok := v.(string)
			if !ok || !types[s] {
				return p, errs.Dataf("%s: %s.%s: %v is not one of default, linear, dynamic, yarn, llama3", path, key, k, v)
			}
			if other, both := dict["type"].(string); k == "rope_type" && both && other != s {
				return p, errs.Dataf("%s: %s.rope_type %s and %s.type %s contradict each other; remove one", path, key, s, key, other)
			}
			p.Type = s
			break
		}
	}
	var err error
	get := func(where string, v any, dst *float64) {
		if v != nil && err == nil {
			*dst, err = num(where, v)
		}
	}
	get("rope_theta", raw["rope_theta"], &p.Theta)
	get(key+".rope_theta", dict["rope_theta"], &p.Theta)
	var m, orig, seq float64
	get("max_position_embeddings", raw["max_position_embeddings"], &m)
	get("original_max_position_embeddings", raw["original_max_position_embeddings"], &orig)
	get(key+".original_max_position_embeddings", dict["original_max_position_embeddings"], &orig)
	get("max_sequence_length", raw["max_sequence_length"], &seq)
	for k, v := range dict {
		if k != "rope_theta" && k != "type" && k != "rope_type" {
			p.Dict[k] = v
		}
	}
	if p.Type != "default" {
		if dict["factor"] == nil && !(p.Type == "yarn" && orig > 0) {
			return p, errs.Dataf("%s: %s.factor is missing; a scaling of type %s needs it", path, key, p.Type)
		}
		get(key+".factor", dict["factor"], &p.Factor)
		if dict["factor"] == nil {
			p.Factor = m / orig
		}
	}
	if err == nil {
		err = p.checkFields(path + ": " + key)
	}
	if err != nil {
		return p, err
	}
	if m == 0 {
		return p, errs.Dataf("%s: max_position_embeddings is missing", path)
	}
	p.MaxPos, p.Orig, p.maxSeq = int(m), int(orig), int(seq)
	return p, nil
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
	numbers := map[string][]string{"llama3": {"low_freq_factor", "high_freq_factor"}, "yarn": {"beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim"}}
	for _, name := range numbers[p.Type] {
		v := p.Dict[name]
		if n, ok := v.(json.Number); v != nil {
			if x, err := n.Float64(); !ok || err != nil || !(x > 0) {
				return errs.Dataf("%s.%s: %v is not a positive number", where, name, v)
			}
		}
	}
	switch {
	case p.Type == "llama3" && p.field("high_freq_factor", 4) <= p.field("low_freq_factor", 1):
		return errs.Dataf("%s.high_freq_factor: %v is not above low_freq_factor, %v", where, p.field("high_freq_factor", 4), p.field("low_freq_factor", 1))
	case p.Type == "yarn" && p.field("beta_fast", 32) < p.field("beta_slow", 1):
		return errs.Dataf("%s.beta_fast: %v is below beta_slow, %v", where, p.field("beta_fast", 32), p.field("beta_slow", 1))
	}
	return nil
}

// trained is the pre-training length L0 and whether anything says it.
func (p Positions) trained(base int) (int, bool) {
	switch {
	case base > 0:
		return base, true
	case p.Orig > 0:
		return p.Orig, true
	case p.maxSeq > 0:
		return int(math.Round(float64(p.maxSeq) / p.Factor)), true
	case p.Factor == 1:
		return p.MaxPos, true
	}
	return 0, false
}

// Reads is the length that the checkpoint reads as it is: max(M, f·L0), M where L0 is not known.
func (p Positions) Reads(base int) int {
	if l0, ok := p.trained(base); ok {
		return max(p.MaxPos, int(p.Factor*float64(l0)))
	}
	return p.MaxPos
}

// Resolve gives the positions for training at r.Ctx, and whether they differ from the checkpoint's.
func (p Positions) Resolve(r Request, headDim int) (Positions, bool, error) {
	want := r.Rope
	if want == "" {
		want = "auto"
	}
	if want == "auto" && r.Factor == 0 && (r.Ctx <= p.Reads(r.BaseCtx) || p.Type == "dynamic") {
		return p, false, nil
	}
	if want == "auto" {
		if want = p.Type; want == "default" {
			want = "linear"
		}
	}
	l0, known := p.trained(r.BaseCtx)
	need := func() error {
		if known {
			return nil
		}
		return errs.Usagef("the base's pre-training length is not known: with %s scaling by %g, max_position_embeddings %d may mean %d or %d tokens; say which with --base-ctx",
			p.Type, p.Factor, p.MaxPos, p.MaxPos, int(float64(p.MaxPos)/p.Factor))
	}
	q := p
	q.Dict = map[string]any{}
	if want == p.Type { // other fields stay
		for k, v := range p.Dict {
			q.Dict[k] = v
		}
	}
	q.Type, q.Factor = want, r.Factor
	if want == "none" {
		q.Type, q.Factor = "default", 1
	} else if r.Factor == 0 {
		if want == "llama3" && p.Type == "llama3" {
			q.Factor = math.Ceil(p.Factor * float64(r.Ctx) / float64(p.MaxPos))
		} else {
			if err := need(); err != nil {
				return p, false, err
			}
			q.Factor = math.Ceil(float64(r.Ctx) / float64(l0))
		}
	}
	if want == "ntk" {
		if headDim <= 2 {
			return p, false, errs.Usagef("--rope ntk: needs heads of more than 2 channels")
		}
		q.Type = "default"
		q.Theta = p.Theta * math.Pow(q.Factor, float64(headDim)/float64(headDim-2))
		if math.IsInf(q.Theta, 0) {
			return p, false, errs.Usagef("--rope ntk: rope_theta overflows with the factor %g; give a smaller --rope-factor", q.Factor)
		}
		q.Factor = 1
	}
	if q.Type == p.Type && q.Factor == p.Factor && q.Theta == p.Theta && (r.BaseCtx == 0 || r.BaseCtx == p.Orig || q.Type == "default" || q.Type == "dynamic") {
		return p, false, nil
	}
	if q.Type == "dynamic" { // M is what the scaling counts from
		return q, true, nil
	}
	q.MaxPos, q.maxSeq = r.Ctx, 0
	q.Orig = 0
	if q.Type != "default" {
		if err := need(); err != nil {
			return p, false, err
		}
		q.Orig = l0
	}
	return q, true, nil
}

// decimal writes a number with a point or an exponent: older releases of transformers refuse a factor that is a whole
// number.
func decimal(x float64) json.Number {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return json.Number(s)
}

// dictionary is the scaling as config.json has it, under the name of the type's field.
func (p Positions) dictionary(typeKey string) map[string]any {
	d := map[string]any{typeKey: p.Type}
	for k, v := range p.Dict {
		if k != "original_max_position_embeddings" {
			d[k] = v
		}
	}
	if p.Type == "default" {
		return d
	}
	d["factor"] = decimal(p.Factor)
	if p.Type == "yarn" || p.Type == "llama3" {
		orig := p.Orig
		if orig == 0 {
			orig = p.MaxPos
		}
		d["original_max_position_embeddings"] = orig
	}
	if p.Type == "llama3" {
		for k, v := range map[string]float64{"low_freq_factor": 1, "high_freq_factor": 4} {
			if d[k] == nil {
				d[k] = decimal(v)
			}
		}
	}
	return d
}

// WriteConfig puts changed positions into a config.json in the spelling it has.
func (p Positions) WriteConfig(raw map[string]any) {
	raw["max_position_embeddings"] = p.MaxPos
	if p.Type != "dynamic" { // it counts from M, which stays
		delete(raw, "original_max_position_embeddings")
		delete(raw, "max_sequence_length")
	}
	if p.Type == "linear" && p.Orig > 0 {
		raw["original_max_position_embeddings"] = p.Orig
	}
	if !p.old {
		d := p.dictionary("rope_type")
		d["rope_theta"] = decimal(p.Theta)
		raw["rope_parameters"] = d
		delete(raw, "rope_theta")
		delete(raw, "rope_scaling")
		return
	}
	raw["rope_theta"] = decimal(p.Theta)
	if p.Type == "default" {
		raw["rope_scaling"] = nil
		return
	}
	typeKey := "rope_type"
	if s, ok := raw["rope_scaling"].(map[string]any); ok && s["rope_type"] == nil && s["type"] != nil {
		typeKey = "type"
	}
	raw["rope_scaling"] = p.dictionary(typeKey)
}

// Record is what run.json and every checkpoint hold of positions.
type Record struct {
	Rope   map[string]any `json:"rope"`
	MaxPos int            `json:"max_position_embeddings"`
	Orig   *int           `json:"original_max_position_embeddings"`
}

// Record makes the record.
func (p Positions) Record() Record {
	d := p.dictionary("rope_type")
	d["rope_theta"] = decimal(p.Theta)
	r := Record{Rope: d, MaxPos: p.MaxPos}
	if p.Orig > 0 {
		o := p.Orig
		r.Orig = &o
	}
	return r
}

// FromRecord applies a record to a checkpoint's positions, keeping the spelling; changed says whether they differ.
func (p Positions) FromRecord(path string, r Record) (q Positions, changed bool, err error) {
	b, err := json.Marshal(map[string]any{"rope_parameters": r.Rope, "max_position_embeddings": r.MaxPos, "original_max_position_embeddings": r.Orig})
	if err != nil {
		return p, false, err
	}
	var raw map[string]any
	if err := decode(b, &raw); err != nil {
		return p, false, err
	}
	q, err = FromConfig(path+": positions", raw)
	q.old = p.old
	return q, q.Differs(p), err
}

// Differs reports whether two checkpoints' positions are not the same, wherever their configs write the pre-training
// length; a type that computes with it has MaxPos where none is written.
func (p Positions) Differs(q Positions) bool {
	orig := func(x Positions) float64 {
		switch x.Type {
		case "linear":
			return float64(x.Orig)
		case "yarn", "llama3":
			return x.original()
		}
		return 0
	}
	return q.Type != p.Type || q.Factor != p.Factor || q.Theta != p.Theta || q.MaxPos != p.MaxPos || orig(q) != orig(p)
}
