package eval

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"

	"longlora/internal/errs"
	"longlora/internal/model"
)

// sampler draws tokens. The same seed draws the same ones.
type sampler struct {
	temperature, topP float64
	r                 *rand.Rand
}

func newSampler(g *Continuation) *sampler {
	return &sampler{g.Temperature, g.TopP, rand.New(rand.NewPCG(g.Seed, 0))}
}

func (s *sampler) next(x *model.Session) (int32, error) {
	if s.temperature == 0 {
		return x.Best()
	}
	logits, err := x.Logits()
	if err != nil {
		return 0, err
	}
	return s.draw(logits)
}

// draw picks from softmax(logits/temperature), restricted to the fewest tokens whose probabilities reach topP
// (nucleus sampling, arXiv 1904.09751, sec. 3.1), the most probable one always among them.
func (s *sampler) draw(logits []float32) (int32, error) {
	top := float64(slices.Max(logits))
	p := make([]float64, len(logits))
	sum := 0.0
	for i, l := range logits {
		p[i] = math.Exp((float64(l) - top) / s.temperature)
		sum += p[i]
	}
	if math.IsNaN(sum) || math.IsInf(top, 0) {
		return 0, errs.Numericf(model.NotFinite)
	}
	order := make([]int, 0, len(p))
	least := 0.0 // all tokens below it add up to less than what is left out, so that few are sorted
	if s.topP < 1 {
		least = (1 - s.topP) * sum / float64(2*len(p))
	}
	for i, x := range p {
		if x >= least {
			order = append(order, i)
		}
	}
	if s.topP < 1 {
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[b], p[a]) })
		kept := 0.0
		for i, k := range order {
			if kept += p[k]; kept >= s.topP*sum {
				order, sum = order[:i+1], kept
				break
			}
		}
	}
	u := s.r.Float64() * sum
	for _, k := range order {
		if u -= p[k]; u < 0 {
			return int32(k), nil
		}
	}
	return int32(order[0]), nil
}
