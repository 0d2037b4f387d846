// Package rope says where tokens stand: rotary positions (RoFormer, arXiv 2104.09864), how a checkpoint spells
// their scaling, and how they change when the context is extended.
package rope

import (
	"math"

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
	Notes  []string       // what the user should be told of the reading
	maxSeq int            // max_sequence_length, 0 when missing
	old    bool           // spelled rope_scaling, not rope_parameters
	// names of the fields that say the type: rope_type, type or both; none where no scaling is written
	typeKeys []string
}

// Request is what the command line asks for.
type Request struct {
	Rope    string  // auto, none, linear, ntk, dynamic, yarn, llama3
	Factor  float64 // 0: not given
	BaseCtx int     // 0: not given
	Ctx     int
}

var types = map[string]bool{"default": true, "linear": true, "dynamic": true, "yarn": true, "llama3": true}

// trained is the pre-training length L0 and whether anything says it.
func (p Positions) trained(base int) (int, bool) {
	switch {
	case base > 0:
		return base, true
	case p.stated() > 0:
		return p.stated(), true
	case p.Factor == 1:
		return p.MaxPos, true
	}
	return 0, false
}

// stated is the pre-training length that the config states, by whatever field; 0 where none does.
func (p Positions) stated() int {
	if p.Orig == 0 && p.maxSeq > 0 {
		return int(math.Round(float64(p.maxSeq) / p.Factor))
	}
	return p.Orig
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

// Differs reports whether two checkpoints' positions are not the same, wherever their configs write the pre-training
// length; a type that computes with it has MaxPos where none is written.
func (p Positions) Differs(q Positions) bool {
	orig := func(x Positions) float64 {
		switch x.Type {
		case "linear":
			return float64(x.stated())
		case "yarn", "llama3":
			return x.original()
		}
		return 0
	}
	return q.Type != p.Type || q.Factor != p.Factor || q.Theta != p.Theta || q.MaxPos != p.MaxPos || orig(q) != orig(p)
}
