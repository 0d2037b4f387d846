package lora

import (
	"strings"

	"longlora/internal/model"
)

// InitFactors draws every A of a model's fresh adapter; every B is zero already.
func InitFactors(ps *model.Params, seed uint64) {
	for _, p := range ps.List {
		if strings.HasSuffix(p.Name, ".lora_A.weight") {
			ps.Set(p, initA(p.Shape, stream(seed, p.Name)))
		}
	}
}
