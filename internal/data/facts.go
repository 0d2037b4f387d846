package data

import (
	"math/big"
	"strconv"
)

// CeilOf is ⌈f·n⌉ with f the decimal that the user wrote, not its float: 0.07 of 100 is 7. It is at most limit.
func CeilOf(f float64, n, limit int64) int64 {
	r, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	if !ok {
		return limit
	}
	r.Mul(r, new(big.Rat).SetInt64(n))
	q, m := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if m.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	if !q.IsInt64() {
		return limit
	}
	return min(q.Int64(), limit)
}

// Weights are the sources' shares of an epoch as --data gives them, 0 where all rows are taken.
func (s *Set) Weights() []float64 {
	out := make([]float64, len(s.sources))
	for i, src := range s.sources {
		out[i] = src.weight
	}
	return out
}

// Documents reports whether every source's documents are known; a plain token file is one stream without any.
func (s *Set) Documents() bool {
	for _, src := range s.sources {
		if src.tokens {
			return false
		}
	}
	return true
}
