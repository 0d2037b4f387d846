package data

import (
	"math/bits"

	"longlora/internal/data/store"
)

// Lengths tell how long a prepared file's documents are.
type Lengths struct {
	Documents int         `json:"documents"`
	Tokens    int64       `json:"tokens"`
	Longest   int64       `json:"longest"`
	Histogram []LengthBin `json:"histogram"`
	AtCtx     []Usable    `json:"at_ctx,omitempty"`
}

// LengthBin counts documents of From to To tokens.
type LengthBin struct {
	From      int64   `json:"from"`
	To        int64   `json:"to"`
	Documents int     `json:"documents"`
	Tokens    int64   `json:"tokens"`
	Beyond    float64 `json:"beyond"` // the share of all tokens that lie in documents of From tokens or more
}

// Usable is what a context can use of the documents: those that fit it whole, and the tokens in longer ones, which
// train its longest distances.
type Usable struct {
	Ctx    int     `json:"ctx"`
	Whole  float64 `json:"whole"`  // share of the documents of at most ctx tokens
	Within float64 `json:"within"` // share of the tokens in them
	Longer float64 `json:"longer"` // share of the tokens in longer ones
}

// MeasureLengths reads the documents' lengths from a prepared file's index.
func MeasureLengths(bin string, ctxs []int) (*Lengths, error) {
	c, err := readSidecar(bin)
	if err != nil {
		return nil, err
	}
	st, err := store.OpenPrepared(bin, c.prepared(), c.Vocab)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	l := &Lengths{Documents: st.Count, Tokens: st.Tokens}
	bins := map[int]*LengthBin{}
	whole, within := make([]int, len(ctxs)), make([]int64, len(ctxs))
	for d := range st.Count {
		n := st.End(d) - st.End(d-1)
		l.Longest = max(l.Longest, n)
		k := bits.Len64(uint64(n))
		if bins[k] == nil {
			bins[k] = &LengthBin{From: int64(1) << max(k-1, 0), To: int64(1)<<k - 1}
			if k == 0 {
				bins[k].From = 0
			}
		}
		bins[k].Documents++
		bins[k].Tokens += n
		for i, ctx := range ctxs {
			if n <= int64(ctx) {
				whole[i]++
				within[i] += n
			}
		}
	}
	left := st.Tokens
	all := float64(max(1, st.Tokens))
	for k := 0; k < 64; k++ {
		if b := bins[k]; b != nil {
			b.Beyond = float64(left) / all
			left -= b.Tokens
			l.Histogram = append(l.Histogram, *b)
		}
	}
	for i, ctx := range ctxs {
		u := Usable{Ctx: ctx, Whole: float64(whole[i]) / float64(max(1, st.Count)), Within: float64(within[i]) / all,
			Longer: float64(st.Tokens-within[i]) / all}
		l.AtCtx = append(l.AtCtx, u)
	}
	return l, nil
}
