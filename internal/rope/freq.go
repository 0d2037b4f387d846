package rope

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"

	"longlora/internal/errs"
)

func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

// field is a number of the dictionary, or def.
func (p Positions) field(name string, def float64) float64 {
	switch v := p.Dict[name].(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil {
			return f
		}
	case float64:
		return v
	case int:
		return float64(v)
	}
	return def
}

// inverse are 1/theta^(2i/D) in float32, as transformers computes them.
func inverse(theta float64, d int) []float32 {
	inv := make([]float32, d/2)
	for i := range inv {
		e := float32(2*i) / float32(d)
		inv[i] = 1 / float32(math.Pow(theta, float64(e)))
	}
	return inv
}

// InvFreq are the inverse frequencies (D/2) and the factor of cos and sin, as transformers computes them. length
// is what dynamic scaling counts with: the row's at training, the window's at evaluation.
func (p Positions) InvFreq(d, length int) ([]float32, float32) {
	theta := p.Theta
	if p.Type == "dynamic" {
		n, m := float64(max(length, p.MaxPos)), float64(p.MaxPos)
		theta *= math.Pow(p.Factor*n/m-(p.Factor-1), float64(d)/float64(d-2))
	}
	inv := inverse(theta, d)
	switch p.Type {
	case "linear":
		for i := range inv {
			inv[i] /= float32(p.Factor)
		}
	case "llama3":
		p.llama3(inv)
	case "yarn":
		return p.yarn(inv, d)
	case "longrope":
		return p.longrope(inv, length)
	}
	return inv, 1
}

// longrope divides each frequency by a number of its own (LongRoPE, arXiv 2402.13753): for rows of up to the
// pre-training length by the short ones, beyond it by the long ones.
func (p Positions) longrope(inv []float32, length int) ([]float32, float32) {
	by := p.list("short_factor")
	if length > p.Orig {
		by = p.list("long_factor")
	}
	for i := range inv {
		inv[i] /= by[i]
	}
	scale := p.field("attention_factor", 0)
	if scale == 0 {
		scale = math.Sqrt(1 + max(0, math.Log(p.Factor))/math.Log(float64(p.Orig)))
	}
	return inv, float32(scale)
}

// Fits checks that a dictionary has a number for each of the frequencies of a head of which d channels are turned.
func (p Positions) Fits(path string, d int) error {
	for _, name := range []string{"short_factor", "long_factor"} {
		if n := len(p.list(name)); p.Type == "longrope" && n != d/2 {
			return errs.Dataf("%s: %s: has %d numbers, where %d channels of a head are turned in %d pairs", path, name, n, d,
				d/2)
		}
	}
	return nil
}

// list is a field of positive numbers; nil where it is none.
func (p Positions) list(name string) (out []float32) {
	list, _ := p.Dict[name].([]any)
	for _, v := range list {
		n, ok := v.(json.Number)
		x, err := n.Float64()
		if !ok || err != nil || !(x > 0) || x > MaxFactor {
			return nil
		}
		out = append(out, float32(x))
	}
	return out
}

// llama3 scales long wavelengths by the factor, short ones not, and blends between.
func (p Positions) llama3(inv []float32) {
	low, high := p.field("low_freq_factor", 1), p.field("high_freq_factor", 4)
	old := p.original()
	for i, f := range inv {
		wave := float32(2*math.Pi) / f
		switch {
		case float64(wave) > old/low:
			inv[i] = f / float32(p.Factor)
		case float64(wave) >= old/high:
			s := (float32(old)/wave - float32(low)) / float32(high-low)
			inv[i] = (1-s)*f/float32(p.Factor) + s*f
		}
	}
}

func (p Positions) original() float64 {
	if p.Orig > 0 {
		return float64(p.Orig)
	}
	return float64(p.MaxPos)
}

// yarn blends interpolated and unchanged frequencies by how often they turn (YaRN, arXiv 2309.00071, sec. 3.2), and
// scales cos and sin for the attention temperature (eq. 22).
func (p Positions) yarn(inv []float32, d int) ([]float32, float32) {
	fast, slow := p.field("beta_fast", 32), p.field("beta_slow", 1)
	dim := func(turns float64) float64 {
		return float64(d) * math.Log(p.original()/(turns*2*math.Pi)) / (2 * math.Log(p.Theta))
	}
	lo, hi := dim(fast), dim(slow)
	if t, ok := p.Dict["truncate"].(bool); !ok || t {
		lo, hi = math.Floor(lo), math.Ceil(hi)
	}
	lo, hi = max(lo, 0), min(hi, float64(d-1))
	if lo == hi {
		hi += 0.001
	}
	for i, f := range inv {
		ramp := min(max((float32(i)-float32(lo))/float32(hi-lo), 0), 1)
		extra := 1 - ramp
		inter := 1 / (float32(p.Factor) * float32(math.Pow(p.Theta, float64(float32(2*i)/float32(d)))))
		inv[i] = inter*(1-extra) + f*extra
	}
	if a := p.field("attention_factor", 0); a > 0 {
		return inv, float32(a)
	}
	m, all := p.field("mscale", 0), p.field("mscale_all_dim", 0)
	scale := func(k float64) float64 {
		if p.Factor <= 1 {
			return 1
		}
		return 0.1*k*math.Log(p.Factor) + 1
	}
	if m != 0 && all != 0 {
		return inv, float32(scale(m) / scale(all))
	}
	return inv, float32(scale(1))
}

// String names the positions in a few words.
func (p Positions) String() string {
	switch p.Type {
	case "default":
		return fmt.Sprintf("default (theta %.8g)", p.Theta)
	case "dynamic":
		return fmt.Sprintf("dynamic ×%g beyond %d", p.Factor, p.MaxPos)
	}
	return fmt.Sprintf("%s ×%g", p.Type, p.Factor)
}
