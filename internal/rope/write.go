package rope

import (
	"encoding/json"
	"strconv"
	"strings"
)

// decimal writes a number with a point or an exponent: older releases of transformers refuse a factor that is a whole
// number.
func decimal(x float64) json.Number {
	s := strconv.FormatFloat(x, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return json.Number(s)
}

// dictionary is the scaling as config.json has it, under the names of the type's field.
func (p Positions) dictionary(typeKeys ...string) map[string]any {
	d := map[string]any{}
	for _, k := range typeKeys {
		d[k] = p.Type
	}
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
	if p.Type != "dynamic" || p.Orig > 0 {
		delete(raw, "original_max_position_embeddings")
		delete(raw, "max_sequence_length")
	}
	if (p.Type == "linear" || p.Type == "dynamic") && p.Orig > 0 {
		raw["original_max_position_embeddings"] = p.Orig
	}
	delete(raw, "rope_condense_ratio") // the scaling has it
	if !p.old {
		d := p.dictionary(p.keys()...)
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
	raw["rope_scaling"] = p.dictionary(p.keys()...)
}

// keys are the names of the field that says the type: the base's own. Where the base writes no scaling and is of the
// older spelling, linear and dynamic get the name that every release of transformers reads (4.31 to 4.42 know no
// other), the later types the one that they came with.
func (p Positions) keys() []string {
	switch {
	case len(p.typeKeys) > 0:
		return p.typeKeys
	case p.old && (p.Type == "linear" || p.Type == "dynamic"):
		return []string{"type"}
	}
	return []string{"rope_type"}
}

// Record is what run.json and every checkpoint hold of positions.
type Record struct {
	Rope   map[string]any `json:"rope"`
	MaxPos int            `json:"max_position_embeddings"`
	Orig   *int           `json:"original_max_position_embeddings"`
}

// String is the record as run.json has it.
func (r Record) String() string {
	b, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Record makes the record.
func (p Positions) Record() Record {
	d := p.dictionary("rope_type")
	d["rope_theta"] = decimal(p.Theta)
	r := Record{Rope: d, MaxPos: p.MaxPos}
	if o := p.stated(); o > 0 {
		r.Orig = &o
	}
	return r
}

// FromRecord applies a record to a checkpoint's positions, keeping the spelling; changed says whether they differ.
func (p Positions) FromRecord(path string, r Record) (q Positions, changed bool, err error) {
	was := map[string]any{"rope_parameters": r.Rope, "max_position_embeddings": r.MaxPos,
		"original_max_position_embeddings": r.Orig}
	if p.Type == "longrope" { // which only that family has
		was["model_type"] = "phi3"
	}
	b, err := json.Marshal(was)
	if err != nil {
		return p, false, err
	}
	var raw map[string]any
	if err := decode(b, &raw); err != nil {
		return p, false, err
	}
	q, err = FromConfig(path+": positions", raw)
	q.old, q.typeKeys = p.old, p.typeKeys
	return q, q.Differs(p), err
}
