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

// Files are the numbers of files of the sources, which tell how the same files are divided among several --data.
func (s *Set) Files() []int {
	out := make([]int, len(s.sources))
	for i, src := range s.sources {
		out[i] = len(src.files)
	}
	return out
}

// ReadAs says what each source was found to be, which the data decides where no option does: its format, and whether
// prompts are scored.
func (s *Set) ReadAs() []string {
	out := make([]string, len(s.sources))
	for i, src := range s.sources {
		if out[i] = src.format; src.all {
			out[i] += " with prompts scored"
		}
	}
	return out
}

// Documents reports whether every source's documents are known; a plain token file is one stream without any.
func (s *Set) Documents() bool {
	for _, src := range s.sources {
		if src.plain {
			return false
		}
	}
	return true
}

// Stats describe what was read.
type Stats struct {
	Documents, Tokens, Long int64 // Long: tokens in documents longer than the length asked for
	Skipped                 int   // malformed records
	Fate
	Fill float64 // the share of the rows that tokens fill
}

// Stats counts documents and tokens, and the tokens in documents longer than n.
func (s *Set) Stats(n int) Stats {
	var st Stats
	filled := int64(0)
	for _, src := range s.sources {
		st.Tokens += src.st.Tokens
		st.Documents += int64(src.st.Count)
		st.Skipped += src.skipped
		st.Dropped += src.fate.Dropped
		st.Shorter += src.fate.Shorter
		st.LongAnswers += src.fate.LongAnswers
		st.Truncated += src.fate.Truncated
		filled += src.filled
		for d := range src.st.Count {
			if l := src.st.End(d) - src.st.End(d-1); l > int64(n) {
				st.Long += l
			}
		}
	}
	st.Fill = float64(filled) / (float64(s.rows) * float64(s.opt.Ctx))
	return st
}
