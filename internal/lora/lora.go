// Package lora has what is particular to low-rank adapters (LoRA, arXiv 2106.09685): how fresh factors are drawn,
// which layers they go to, and how they are merged into the weights.
package lora

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tensor"
)

// stream is a generator for one tensor: a function of the seed and the tensor's name, so that a tensor's values
// do not depend on which others are drawn.
func stream(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// initA draws a fresh A (R,in) as PEFT does: Kaiming-uniform with a = √5, that is U(-1/√in, 1/√in). B starts at zero.
func initA(s tensor.Shape, r *rand.Rand) []float32 {
	bound := 1 / math.Sqrt(float64(s[1]))
	v := make([]float32, s.Elems())
	for i := range v {
		v[i] = float32((2*r.Float64() - 1) * bound)
	}
	return v
}

// Fresh is an adapter that begins: the same rank and alpha for every targeted linear layer of every layer.
type Fresh struct {
	Rank         int
	Alpha, Drop  float64
	Targets      []string // by their modules' own names
	RSLoRA       bool     // the scale is alpha/√rank instead of alpha/rank
	Embed, Norms bool     // trained whole
	Head         bool     // so too; of a model whose head is the embedding, the embedding
}

// Train says what of a model it trains.
func (f Fresh) Train(d model.Desc) model.Train {
	tr := model.Train{Drop: f.Drop, Whole: map[string]bool{}, LoRA: map[string]model.LowRank{}}
	scale := f.Alpha / float64(f.Rank)
	if f.RSLoRA {
		scale = f.Alpha / math.Sqrt(float64(f.Rank))
	}
	for _, s := range d.Tensors() {
		switch {
		case s.Role == model.Embed && (f.Embed || f.Head && d.Tied) || s.Role == model.Head && f.Head || s.Norm() && f.Norms:
			tr.Whole[s.Name] = true
		case s.Linear() && slices.Contains(f.Targets, s.Target()):
			tr.LoRA[s.Module()] = model.LowRank{Rank: f.Rank, Scale: float32(scale)}
		}
	}
	return tr
}

// Targets are the linear layers that --targets names, in alphabetical order: attention's, all, or those of a name.
func Targets(d model.Desc, list []string) (names []string, err error) {
	all := d.Targets(false)
	known := strings.Join(all, ", ") + ", or attention or all-linear"
	for _, n := range list {
		switch {
		case n == "attention":
			names = append(names, d.Targets(true)...)
		case n == "all-linear":
			names = append(names, all...)
		case slices.Contains(all, n):
			names = append(names, n)
		default:
			return nil, errs.Usagef("%s: no linear layer is named %q; there are %s", errs.Option("targets"), n, known)
		}
	}
	if len(names) == 0 {
		return nil, errs.Usagef("%s: names no linear layer; there are %s", errs.Option("targets"), known)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
