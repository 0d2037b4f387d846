package cpu

import (
	"unsafe"

	"longlora/internal/tensor"
)

type ptr = unsafe.Pointer

// Matrix is a matrix of any format: elements of a type from P on, or codes.
type Matrix struct {
	P     ptr
	Type  tensor.DType   // F32, BF16 or F16
	Codes *tensor.Stored // NF4 or FP8; nil where the elements lie as they are
}

// Term is one product of a sum of products: Alpha·A·B with A (m,K) as A[i·ARS+k·ACS] and B (K,n) as
// B[k·BRS+j·BCS]; one stride of each is 1.
type Term struct {
	A        ptr
	ARS, ACS int
	Alpha    float32
	B        Matrix
	BRS, BCS int
	K        int
}

// Gemm is rows [M0,M1) and columns [N0,N1) of C = CIn + Σ Terms + Bias; at most two terms. CIn nil is zero and may be
// C; Bias (n) nil is none; Work is TermBytes and then GemmWork floats. It ends with nothing of use once Stop, in C's or
// mapped memory, nil for never, is not 0.
type Gemm struct {
	Terms          []Term
	C, CIn, Bias   ptr
	LDC, LDCIn     int
	M0, M1, N0, N1 int
	Stop           *uint32
	Work           ptr
}

// TermBytes at the front of Gemm's scratch hold its terms.
const TermBytes = 256

// Skinny is C[i][j] = Σ_k A[i][k]·B[j][k] for few columns: A (M,K), B (N,K).
type Skinny struct {
	C, A, B       ptr
	LDC, LDA, LDB int
	M, N, K       int
}

// Gemv is Y[o] = Σ_i W[First+o][i]·X[i].
type Gemv struct {
	Y, X           ptr
	W              Matrix
	First, Out, In int
}

// Attn is one query head over one segment; see ll_attn_t in kernels.h.
type Attn struct {
	Q, K, V, O, DOut, Out, DQ, DK, DV, LSE, Delta ptr
	QS, KS, Q0, K0                                int
	Lo, Hi, QLo, QHi                              [2]int
	Window                                        int
	D                                             int
	Scale, Cap                                    float32 // Cap 0: scores are not capped
	Stop                                          *uint32 // as Gemm's
}

// Softmax is one row of N logits and its target, negative for none. With Grad the row becomes
// Scale·(softmax - onehot(Target)).
type Softmax struct {
	Row    ptr
	N      int
	Target int32
	Scale  float32
	Cap    float32 // 0: logits are not capped
	Grad   bool
}

// RMS is the norm of N rows of C: forward from X and W to Y and RStd, backward from DY, X, RStd and W to DX.
type RMS struct {
	Y, RStd, X, W, DX, DY ptr
	N, C                  int
	Plus, Eps             float32 // Plus is added to W
}

// LayerNorm is the norm of N rows of C by mean and variance, which Stat keeps: forward from X, W and Bias to Y,
// backward from DY, X, Stat and W to DX, DW and DBias; the last two nil where not wanted.
type LayerNorm struct {
	Y, Stat, X, W, Bias, DX, DW, DBias, DY ptr
	N, C                                   int
	Eps                                    float32
}

// GELU is H = gelu(G)·U over N elements; backward H is its gradient, which DG and DU receive. U nil counts as 1.
type GELU struct {
	H, G, U, DG, DU ptr
	N               int
	Tanh            bool
}

// Drop is dropout: the token keys, the stream's salt, the least hash of a key and a channel that stays, and what is
// kept is multiplied by. See ops.DropKeep.
type Drop struct {
	Keys        ptr
	Salt, Bound uint64
	Factor      float32
}

// DropWidth is the most channels that DropDA takes at a time.
const DropWidth = 64

// DropGrad is what dropped low-rank products give back for N tokens of C channels and rank R: DropDA adds
// Scale·Σ_t DXA[t][k]·drop(X)[t][j] to DA (R,C) for W channels from I, DropDX adds Scale times the dropped row DXA[t]·A
// to DX.
type DropGrad struct {
	Drop              Drop
	DA, DX, DXA, X, A ptr
	Scale             float32
	N, C, R, I, W     int
}

// Rope turns the first R channels of N tokens' heads of size D by the cosines and sines in CS, back with a Sign of -1.
type Rope struct {
	Dst, Src, CS   ptr
	N, Heads, D, R int
	Sign           float32
}

// AdamW updates N elements: Decay is 1 - lr·wd, R1 1-β1, R2 1-β2, Step lr/(1-β1^s), Root 1/√(1-β2^s).
type AdamW struct {
	W, M, V, Grad                                 ptr
	N                                             int
	GradScale, Decay, R1, B2, R2, Step, Root, Eps float32
}
