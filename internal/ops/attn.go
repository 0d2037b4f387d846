package ops

import (
	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Attn is one tile's attention. Tokens are counted along the sequence; the tile has T of them.
type Attn struct {
	H, Hkv, D int
	Scale     float32 // of the scores, 1/√D for LLaMA
	Cap       float32 // scores s become Cap·tanh(s/Cap) before they are masked; 0: they stay
	Spec      s2attn.Spec
	Q0        int     // sequence index of the first query
	K0        int     // sequence index of the first row of K and V
	Docs      []int32 // documents that overlap the queries: boundaries along the sequence, Docs[i] ≤ t < Docs[i+1]

	Q    Tensor // (T,H,D) act
	K, V Tensor // (W,Hkv,D) act, row j is token K0+j, W ≥ Q0+T-K0
	O    Tensor // (T,H,D) act, written forward, read backward
	LSE  Tensor // (H,T) float32, written forward, read backward

	// Of the backward pass alone.
	DO     Tensor // (T,H,D) act
	DQ     Tensor // (T,H,D) act, written
	DK, DV Tensor // (W,Hkv,D) float32, added to; with All act, written
	Fresh  bool   // there is nothing in DK and DV from token Q0 on: these rows are written instead
	All    bool   // the tile is all of its sequence, K0 = Q0 and W = T: nothing else is added to DK and DV
	Turn   Tensor // (T,R) float32 or None: what Q was turned by; DQ is turned back, and with All DK. See Rotary
	Delta  Tensor // (H,T) float32, scratch
	Work   Tensor // AttnWork bytes of scratch; None where act is float32, or where little is wanted
}

// MaxHead is the largest head size of a backend whose act is not float32.
const MaxHead = 256

// AttnWork is the most scratch that AttnBackward wants for t queries where act is not float32, in bytes: dq in
// float32 with the head size padded to 32, 64, 128 or 256, two numbers a query and head, and counters.
func AttnWork(t, h, d int) int64 {
	padded := 32
	for padded < d {
		padded *= 2
	}
	return int64((t+127)/128*128)*int64(h)*int64(4*padded+9) + 4096
}

// Attention is segmented causal attention (LongLoRA, arXiv 2309.12307, sec. 3.2; computed as FlashAttention-2,
// arXiv 2307.08691, alg. 1 and 2). Query t of head h sees keys lo..t of its segment [lo,hi), see s2attn; the
// keys' head is h·Hkv/H. Rows of K and V before lo may hold anything, NaN included: they are never read for h.
type Attention interface {
	// AttnForward: with S = Scale·Q·Kᵀ, capped, O = softmax(S)·V, LSE = log Σ exp(S).
	AttnForward(a *Attn)
	// AttnBackward: with p = exp(S - LSE), Delta = Σ_D DO·O and ds = p·(DO·Vᵀ - Delta), capped times 1 - (S/Cap)²,
	// DQ = Scale·ds·K, DK += Scale·dsᵀ·Q, DV += pᵀ·DO.
	AttnBackward(a *Attn)
}

// slower is how many times as long attention takes as by the rate that is known of a GPU, which is of heads of 64 or
// 128 whose scores have no cap. On Hopper (docs/performance.md): caps as measured at 128 channels, 256 channels as a
// step of Gemma 2 9B has it, other heads as the portable kernels that compute them, at the next size.
func (a *Attn) slower(act tensor.DType) float64 {
	times := 1.0
	switch {
	case act == tensor.F32:
		return 1
	case a.D > 128:
		times = 2.8 * 256 / float64(a.D)
	case a.D != 64 && a.D != 128:
		times = 2.1
		for padded := 32; padded < 256; padded *= 2 {
			if a.D <= padded {
				times *= float64(padded) / float64(a.D)
				break
			}
		}
	}
	if a.Cap > 0 {
		times *= 1.4
	}
	return times
}

// figure is what Pairs is in figures of speed: s2attn's Keys for each query and head.
func (a *Attn) figure(t int) float64 {
	n := 0.0
	for i := 0; i+1 < len(a.Docs); i++ {
		d0, d1 := int(a.Docs[i]), int(a.Docs[i+1])
		n += float64(min(a.Q0+t, d1)-max(a.Q0, d0)) * a.Spec.Keys(d1-d0)
	}
	return n * float64(a.H)
}

// Pairs is the number of (query, key, head) triples of t queries from Q0 on.
func (a *Attn) Pairs(t int) float64 {
	n := 0.0
	for _, shifted := range []bool{false, true} {
		heads := a.H / 2
		if shifted {
			heads = a.H - a.H/2
		}
		pairs := 0.0
		for i := 0; i+1 < len(a.Docs); i++ {
			d0, d1 := int(a.Docs[i]), int(a.Docs[i+1])
			pairs += a.Spec.Pairs(max(a.Q0, d0)-d0, min(a.Q0+t, d1)-d0, d1-d0, shifted)
		}
		n += pairs * float64(heads)
	}
	return n
}
