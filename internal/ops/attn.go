package ops

import "longlora/internal/s2attn"

// Attn describes one tile's attention. Tokens are counted along the sequence.
type Attn struct {
	H, Hkv, D int
	Scale     float32 // of the scores, 1/√D for LLaMA
	Spec      s2attn.Spec
	Q0        int     // sequence index of the first query
	K0        int     // sequence index of the first row of k and v
	Docs      []int32 // documents that overlap the queries: boundaries along the sequence, Docs[i] ≤ t < Docs[i+1]
	Fresh     bool    // AttnBackward finds nothing in dk and dv from token Q0 on: it writes these rows instead of adding
	Work      Tensor  // AttnWork bytes of scratch for AttnBackward; None where act is float32, or where little is wanted
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
// keys' head is h·Hkv/H. Rows of k and v before lo may hold anything, NaN included: they are never read for h.
type Attention interface {
	// AttnForward: o = softmax(Scale·q·kᵀ)·v, lse = log Σ exp(Scale·q·kᵀ).
	// o, q (T,H,D) act; lse (H,T) float32; k, v (W,Hkv,D) act, row j is token K0+j, W ≥ Q0+T-K0.
	AttnForward(o, lse, q, k, v Tensor, a *Attn)
	// AttnBackward: with p = exp(Scale·q·kᵀ - lse), delta = Σ_D do·o and ds = p·(do·vᵀ - delta),
	// dq = Scale·ds·k, dk += Scale·dsᵀ·q, dv += pᵀ·do.
	// dq, do, o, q (T,H,D) act; dk, dv (W,Hkv,D) float32, added to (see Attn.Fresh); delta (H,T) float32 is scratch.
	AttnBackward(dq, dk, dv, do, o, q, k, v, lse, delta Tensor, a *Attn)
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
