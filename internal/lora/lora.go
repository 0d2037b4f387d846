// Package lora has what is particular to low-rank adapters (LoRA, arXiv 2106.09685): how fresh factors are drawn,
// which layers they go to, and how they are merged into the weights.
package lora

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/tensor"
)

// Stream is a generator for one tensor: a function of the seed and the tensor's name, so that a tensor's values
// do not depend on which others are drawn.
func Stream(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// InitA draws a fresh A (R,in) as PEFT does: Kaiming-uniform with a = √5, that is U(-1/√in, 1/√in). B starts at zero.
func InitA(s tensor.Shape, r *rand.Rand) []float32 {
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
	Targets      map[model.Target]bool
	Embed, Norms bool // trained whole
}

// Train says what of a model it trains.
func (f Fresh) Train(d model.Desc) model.Train {
	tr := model.Train{Drop: f.Drop, Whole: map[string]bool{}, LoRA: map[string]model.LowRank{}}
	for _, s := range d.TensorShapes() {
		if s.Name == model.EmbedName && f.Embed || s.Kind == model.KindNorm && f.Norms {
			tr.Whole[s.Name] = true
		}
	}
	for t, on := range f.Targets {
		for l := range d.L {
			if on {
				tr.LoRA[t.Path(l)] = model.LowRank{Rank: f.Rank, Scale: float32(f.Alpha / float64(f.Rank))}
			}
		}
	}
	return tr
}

// Targets reads --targets: names of linear layers by comma, or all-linear.
func Targets(list []string) (map[model.Target]bool, error) {
	names := model.Targets()
	out := map[model.Target]bool{}
	for _, n := range list {
		if n == "all-linear" {
			for i := range names {
				out[model.Target(i)] = true
			}
			continue
		}
		i := slices.Index(names, n)
		if i < 0 {
			return nil, errs.Usagef("--targets: no linear layer is named %q; there are %s, or all-linear", n, strings.Join(names, ", "))
		}
		out[model.Target(i)] = true
	}
	if len(out) == 0 {
		return nil, errs.Usagef("--targets: names no linear layer; there are %s, or all-linear", strings.Join(names, ", "))
	}
	return out, nil
}

// Names are targets by name, in alphabetical order.
func Names(t map[model.Target]bool) []string {
	var names []string
	for k, on := range t {
		if on {
			names = append(names, k.String())
		}
	}
	sort.Strings(names)
	return names
}
