// Package rope says where tokens stand: rotary positions (RoFormer, arXiv 2104.09864), how a checkpoint spells
// their scaling, and how they change when the context is extended.
package rope

import (
	"cmp"
	"maps"
	"math"
	"math/big"
	"strconv"

	"longlora/internal/errs"
)

// Positions are a checkpoint's rotary positions, in one form for both spellings of config.json.
type Positions struct {
	Type   string         // default, linear, dynamic, yarn, llama3 or longrope
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
	Beyond  string  // the type that auto takes beyond what a base without scaling reads; "" is linear
	Margin  float64 // how many times Ctx that type is to reach where auto finds its factor; 0 is once
}

var types = map[string]bool{"default": true, "linear": true, "dynamic": true, "yarn": true, "llama3": true,
	"longrope": true}

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

// At is the same request for another context.
func (r Request) At(ctx int) Request {
	r.Ctx = ctx
	return r
}

// auto reports whether a request leaves the positions to the rule, but for the length.
func (r Request) auto() bool { return (r.Rope == "" || r.Rope == "auto") && r.Factor == 0 }

// Resolve gives the positions for training at r.Ctx, and whether they differ from the checkpoint's. Where the
// pre-training length is needed and nothing says it the error is of kind Usage.
func (p Positions) Resolve(r Request, headDim int) (Positions, bool, error) {
	if r.auto() && (r.Ctx <= p.Reads(r.BaseCtx) || p.Type == "dynamic") {
		return p, false, nil
	}
	return p.set(r, headDim)
}

// GoOn gives the positions for training on from an adapter of this checkpoint that was trained at other ones: its own
// up to their length, beyond it the same type with a larger factor. A type that r asks for is what it is without the
// adapter, which may know the pre-training length. changed says whether they differ from the checkpoint's.
func (p Positions) GoOn(has Positions, r Request, headDim int) (q Positions, changed bool, err error) {
	if !has.Differs(p) {
		return p.Resolve(r, headDim)
	}
	within := r.Ctx <= has.MaxPos || has.Type == "dynamic"
	switch {
	case r.auto() && within:
		return has, true, nil
	case r.Rope == "" || r.Rope == "auto":
		q, _, err = has.set(r, headDim)
		reaches := r.auto() && r.BaseCtx == 0 && q.Type == has.Type && q.Factor <= has.Factor
		if err == nil && reaches {
			q = has.For(r.Ctx) // a factor with a margin is never taken back
		}
	default:
		if r.BaseCtx == 0 {
			r.BaseCtx = has.stated()
		}
		q, _, err = p.set(r, headDim)
		if err == nil && within && !q.For(has.MaxPos).Differs(has) {
			q = has
		}
	}
	return q, q.Differs(p), err
}

// For are the same positions, said to be for another length.
func (p Positions) For(length int) Positions {
	p.MaxPos = length
	return p
}

// Idle reports whether a request's pre-training length is another one than what is known, and yet changes nothing.
func (p Positions) Idle(has *Positions, r Request, headDim int) bool {
	from, resolve := p, p.Resolve
	if has != nil {
		from = *has
		resolve = func(r Request, headDim int) (Positions, bool, error) { return p.GoOn(*has, r, headDim) }
	}
	if l0, known := from.trained(0); r.BaseCtx == 0 || known && l0 == r.BaseCtx {
		return false
	}
	with, _, err := resolve(r, headDim)
	r.BaseCtx = 0
	without, _, err2 := resolve(r, headDim)
	return err == nil && err2 == nil && !with.Differs(without) && with.stated() == without.stated()
}

// set gives the positions that r asks for, whatever their length.
func (p Positions) set(r Request, headDim int) (Positions, bool, error) {
	q, margin := p, 1.0
	if q.Type = r.Rope; r.Rope == "" || r.Rope == "auto" {
		if q.Type = p.Type; p.Type == "default" {
			q.Type, margin = cmp.Or(r.Beyond, "linear"), cmp.Or(r.Margin, 1)
		}
	}
	if q.Type == "longrope" {
		return p, false, errs.Dataf("longrope: the base's factors are for %d tokens, and none are known beyond; stay within "+
			"them, or: %w", p.MaxPos, errs.Advice{{Option: "rope", Value: "ntk"}})
	}
	q.Dict = map[string]any{}
	if q.Type == p.Type { // other fields stay
		maps.Copy(q.Dict, p.Dict)
	}
	l0, known := p.trained(r.BaseCtx)
	unknown := func() error {
		return errs.Usagef("the base's pre-training length is not known: with %s scaling by %g, max_position_embeddings %d "+
			"may mean %d or %d tokens; say which with %s",
			p.Type, p.Factor, p.MaxPos, p.MaxPos, int(float64(p.MaxPos)/p.Factor), errs.Option("base-ctx"))
	}
	switch q.Factor = r.Factor; {
	case q.Type == "none":
		q.Type, q.Factor = "default", 1
	case r.Factor > 0:
	case q.Type == "llama3" && p.Type == "llama3":
		q.Factor = ceil(p.Factor, r.Ctx, p.MaxPos)
	case !known:
		return p, false, unknown()
	default:
		q.Factor = margin * ceil(1, r.Ctx, l0)
		if q.Type == "ntk" && margin > 1 {
			q.Factor = p.reaching(q.Factor, l0, headDim)
		}
	}
	if q.Type == "ntk" {
		if err := q.ntk(headDim); err != nil {
			return p, false, err
		}
	}
	if q.Factor > MaxFactor {
		return p, false, errs.Usagef("a scaling factor of %g, for %d tokens: no config may have more than %d; give "+
			"another %s or %s", q.Factor, r.Ctx, MaxFactor, errs.Option("rope"), errs.Option("base-ctx"))
	}
	counted := r.BaseCtx == 0 || r.BaseCtx == p.stated() || q.Type == "default"
	if counted && q.Type == p.Type && q.Factor == p.Factor && q.Theta == p.Theta {
		return p, false, nil
	}
	q.maxSeq = 0
	switch q.Type {
	case "dynamic": // M is what the scaling counts from
		if known {
			q.Orig = l0
		}
		return q, true, nil
	case "default": // the new length is what scaling counts from
		q.Orig = 0
	default:
		if !known {
			return p, false, unknown()
		}
		q.Orig = l0
	}
	q.MaxPos = r.Ctx
	return q, true, nil
}

// ceil is ⌈f·n/m⌉, f the decimal that it is written as.
func ceil(f float64, n, m int) float64 {
	x, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	if !ok {
		return math.Ceil(f * float64(n) / float64(m)) // not a number
	}
	x.Mul(x, big.NewRat(int64(n), int64(m)))
	up := new(big.Int).Sub(new(big.Int).Add(x.Num(), x.Denom()), big.NewInt(1))
	whole, _ := new(big.Float).SetInt(up.Quo(up, x.Denom())).Float64()
	return whole
}

// reaching is the factor of ntk with which no dimension turns further in times·l0 tokens than it did in the l0 of the
// pre-training, to a tenth. Dimensions that turned at least once there know every angle. The first that did not is
// D·ln(l0/2π)/(2·ln θ) (the critical dimension of arXiv 2310.05209, section 3.2), and a base of
// θ·times^(ln θ/ln(l0/2π)) makes it slower times over, those after it more so. The factor that is due, times, leaves it
// ahead of that, and what stands at the front of a row cannot be read from its end. Where most dimensions never turned
// once, as after a pre-training on very short rows, the power is 2.
func (p Positions) reaching(times float64, l0, headDim int) float64 {
	power := 2.0
	if turns := math.Log(float64(l0) / (2 * math.Pi)); turns > 0 {
		power = min(power, math.Log(p.Theta)/turns)
	}
	power *= float64(headDim-2) / float64(headDim)
	return math.Round(10*math.Pow(times, power)) / 10
}

// ntk turns a factor into a larger theta (NTK-aware scaling), written without a type.
func (p *Positions) ntk(headDim int) error {
	if headDim <= 2 {
		return errs.Usagef("%s ntk: needs heads of more than 2 channels", errs.Option("rope"))
	}
	theta := p.Theta * math.Pow(p.Factor, float64(headDim)/float64(headDim-2))
	if theta > maxTheta {
		return errs.Usagef("%s ntk: a factor of %g raises rope_theta to %.3g, and no config may have more than %g; give "+
			"a smaller %s", errs.Option("rope"), p.Factor, theta, float64(maxTheta), errs.Option("rope-factor"))
	}
	p.Type, p.Factor, p.Theta = "default", 1, theta
	return nil
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
