// Package ops is the contract between the step's code and what executes it. Each operation is defined
// here once: its formula, its shapes and its source. ops/cpu makes the definitions executable, ops/cuda
// makes them fast, ops/optest judges both, and Counter only counts.
//
// # Letters
//
// N tokens of a sequence, T tokens of a tile, C model width, H query heads, Hkv key/value heads,
// D head size, F MLP width, V vocabulary, R LoRA rank. A "sequence" is all rows of a micro-batch laid end
// to end; documents (rows, or parts of rows) are intervals of it and nothing ever crosses them. Padding
// is not represented: it is left out.
//
// # Layout
//
// Token-major everywhere: q (T,H,D), k and v (W,Hkv,D); linear weights (out,in) as on disk. "act" is the
// backend's activation type (float32 on the CPU, bfloat16 on a GPU). Weights may be of any float type.
// Gradients of parameters, and the keys' and values' gradients, are float32 sums.
//
// # Order and errors
//
// Calls only enqueue. They run in order; a later call sees what an earlier one wrote. An error is kept
// and returned by the next Sync or Download. Arguments of wrong shape or type are programming errors and
// panic at once. Every operation gives the same bits for the same arguments on the same hardware path,
// for any number of threads.
package ops

import (
	"unsafe"

	"longlora/internal/s2attn"
	"longlora/internal/tensor"
)

// Space is a kind of memory.
type Space uint8

const (
	// Device is the memory that operations work on.
	Device Space = iota
	// Host is where halos and moved activations wait: page-locked memory beside a GPU, ordinary memory on the CPU.
	Host
)

// Backend executes operations.
type Backend interface {
	// Name is "cpu", "cuda:0" or "count".
	Name() string
	// Act is the type of activations.
	Act() tensor.DType
	// Reserve takes one region of memory; the address is aligned to Align. The region is zeroed.
	Reserve(s Space, bytes int64, name string) (unsafe.Pointer, error)
	// Free gives a region back.
	Free(s Space, p unsafe.Pointer, bytes int64)
	// Weight makes a frozen tensor available from mapped file bytes. The CPU keeps the mapping and copies nothing.
	Weight(d tensor.DType, shape tensor.Shape, data []byte) (Tensor, error)
	// WorkspaceBytes is what the backend itself holds for packing and libraries, in device memory.
	WorkspaceBytes() int64
	// Sync waits for everything enqueued and returns the first error since the last Sync.
	Sync() error

	Transfer
	Linears
	Layers
	Attention
	Losses
	Optimizer
}

// Transfer moves data.
type Transfer interface {
	// Upload copies host bytes into dst; src may be reused when it returns.
	Upload(dst Tensor, src []byte)
	// Download waits for everything enqueued and copies src into dst.
	Download(dst []byte, src Tensor) error
	// Zero clears dst.
	Zero(dst Tensor)
	// Convert writes src's values into dst, which has as many elements and any float type.
	Convert(dst, src Tensor)
	// CopyRows copies a strided block of equal element types: rows r in [0, Rows), of Cols elements each,
	// from element SrcOff + r·SrcStride of src to element DstOff + r·DstStride of dst.
	CopyRows(dst, src Tensor, c Block)
	Carrier
}

// Carrier copies blocks between device and host memory beside the operations: on a GPU by streams of their own.
type Carrier interface {
	// Send starts copying a block of src, in device memory, to dst, in host memory, once all that was enqueued before
	// is done. Later operations are not held up, so they must not write the block of src before Wait.
	Send(dst, src Tensor, c Block) Ticket
	// Fetch starts copying a block of src, in host memory, to dst, in device memory, once all that was enqueued before
	// is done, sends too. Later operations must neither read nor write the block of dst before Wait.
	Fetch(dst, src Tensor, c Block) Ticket
	// Wait holds operations that are enqueued later up until the copy is done. Copies of one direction are done in
	// their order, so all before it are done too.
	Wait(t Ticket)
}

// Ticket is one of a Carrier's copies. The zero Ticket is of a copy that is done.
type Ticket struct {
	N     int64 // counted from 1 in its direction
	Fetch bool  // to the device
}

// Block is a strided block of elements for CopyRows.
type Block struct {
	DstOff, DstStride, SrcOff, SrcStride, Rows, Cols int
}

// Whole is the block of all elements of a tensor of one shape at both ends.
func Whole(t Tensor) Block {
	n := t.Elems()
	return Block{DstStride: n, SrcStride: n, Rows: 1, Cols: n}
}

// Linear is one linear layer: y = x·Wᵀ + bias, with LoRA y = x·Wᵀ + bias + Scale·drop(x)·Aᵀ·Bᵀ (LoRA, arXiv 2106.09685, eq. 3).
type Linear struct {
	W     Tensor // (out,in) any float type
	DW    Tensor // (out,in) float32, gradient added up; None when W is frozen
	Bias  Tensor // (out) act; None without
	DBias Tensor // (out) float32, gradient added up; None when Bias is frozen
	LoRA  *LoRA  // nil without
}

// LoRA is the low-rank part of a linear layer.
type LoRA struct {
	A      Tensor  // (R,in) act
	B      Tensor  // (out,R) act
	DA, DB Tensor  // float32, gradients added up
	Scale  float32 // alpha/R
	Drop   Dropout
}

// Dropout zeroes elements with probability P and scales the others by 1/(1-P). Whether element (t,c) falls
// is a function of keys[t], Stream and c alone (see DropKeep), so that it can be made again in the backward pass.
type Dropout struct {
	P      float32
	Stream uint64 // tells layers and targets apart
}

// Proj is one of several linear layers that read the same x.
type Proj struct {
	L   *Linear
	Y   Tensor // (T,out) act, written
	Res Tensor // (T,out) act or None: added to y; may be Y itself
	XA  Tensor // (T,R) act, written: drop(x)·Aᵀ, kept for the backward pass; None without LoRA
}

// ProjGrad is the backward pass of one Proj.
type ProjGrad struct {
	L   *Linear
	DY  Tensor // (T,out) act
	XA  Tensor // (T,R) act, as the forward pass wrote it; None without LoRA
	DXA Tensor // (T,R) act, scratch: dY·B; None without LoRA
}

// Linears are the matrix products.
type Linears interface {
	// LinearForward computes every Y = Res + x·Wᵀ + Bias + Scale·XA·Bᵀ with XA = drop(x)·Aᵀ.
	// x (T,in) act; keys (T) uint64, None where nothing is dropped: no layer does, or the rows are only scored.
	LinearForward(x, keys Tensor, p []Proj)
	// LinearBackward computes dx = Σ dY·W + Scale·drop'((dY·B)·A) over the layers in their order and adds
	// DB += Scale·dYᵀ·XA, DA += Scale·(dY·B)ᵀ·drop(x), DW += dYᵀ·x, DBias += Σ_t dY[t] where those are wanted.
	// dx (T,in) act is overwritten; None when nothing below needs it. x (T,in) act; None when no layer has LoRA or DW.
	LinearBackward(dx, x, keys Tensor, p []ProjGrad)
}

// Layers are the operations between the products.
type Layers interface {
	// EmbedForward: y[t] = table[ids[t]]. y (T,C) act, table (V,C) any float type, ids (T) int32.
	EmbedForward(y, table, ids Tensor)
	// EmbedBackward: dTable[ids[t]] += dy[t], in the order of t. dTable (V,C) float32, dy (T,C) act.
	EmbedBackward(dTable, dy, ids Tensor)
	// RMSNormForward: y = x·r·w with r = (mean(x²)+eps)^(-1/2) (arXiv 1910.07467, eq. 4).
	// y, x (T,C) act; rstd (T) float32 receives r; w (C) float32.
	RMSNormForward(y, rstd, x, w Tensor, eps float32)
	// RMSNormBackward: with g = dy·w and r = rstd, dx += r·(g - x·r²·mean(g·x)) and dw += Σ_t dy·x·r.
	// dx (T,C) act is added to; dw (C) float32 is added to, None when w is frozen.
	RMSNormBackward(dx, dw, dy, x, rstd, w Tensor)
	// RopeTable: angle = pos·inv in float32 (as transformers), cs[t] = [cos(angle)·scale | sin(angle)·scale].
	// cs (T,D) float32, pos (T) int32, inv (D/2) float32.
	RopeTable(cs, pos, inv Tensor, scale float32)
	// Rope turns pairs (i, i+D/2) of every head: y_i = x_i·cos - x_j·sin, y_j = x_j·cos + x_i·sin; inverse turns
	// with -sin, which is the backward pass. dst, src (T,Hx,D), act or float32, may be the same memory.
	Rope(dst, src, cs Tensor, inverse bool)
	// SwiGLUForward: h = g·σ(g)·u. All (T,F) act.
	SwiGLUForward(h, g, u Tensor)
	// SwiGLUBackward: du = dh·g·σ(g), dg = dh·u·σ(g)·(1+g·(1-σ(g))). All (T,F) act; dg, du may be g, u.
	SwiGLUBackward(dg, du, dh, g, u Tensor)
}

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

// HeadLoss describes the output head and cross-entropy over a tile, computed in chunks of rows so that no
// (T,V) tensor exists.
type HeadLoss struct {
	X       Tensor  // (T,C) act, the normed hidden states
	W       Tensor  // (V,C) any float type
	DW      Tensor  // (V,C) float32, added to; None when the head is frozen or without backward pass
	Targets Tensor  // (T) int32; -1 where the token is not scored
	NLL     Tensor  // (T) float32, written: -log p(target), 0 where not scored
	Best    Tensor  // (T) int32 or None, written: the most probable token, the lowest of equals
	DX      Tensor  // (T,C) act, written: gradient of Scale·ΣNLL; None without backward pass
	Scale   float32 // 1/(scored tokens of the optimizer step)
	Logits  Tensor  // (chunk,V) float32 scratch (act where the backend prefers it); its rows set the chunk
}

// Losses are the ends of the step.
type Losses interface {
	HeadLoss(h *HeadLoss)
	// SumF32 adds Σx, added up in float64 in a fixed order, to out. out (1) float64, x float32.
	SumF32(out, x Tensor)
	// SumSquares adds Σx², added up in float64 in a fixed order, to out. out (1) float64, x float32.
	SumSquares(out, x Tensor)
	// ArgMax: idx[t] = the index of the largest logit, the lowest of equals. idx (T) int32, logits (T,V) act.
	ArgMax(idx, logits Tensor)
}

// AdamW are the numbers of one update (arXiv 1711.05101, alg. 2, as PyTorch computes it).
type AdamW struct {
	LR, Beta1, Beta2, Eps, Decay float64
	GradScale                    float64 // the clipping coefficient
	Step                         int     // from 1
}

// Optimizer updates parameters.
type Optimizer interface {
	// AdamW: g = GradScale·grad; w -= LR·Decay·w; m = β1·m+(1-β1)·g; v = β2·v+(1-β2)·g²;
	// w -= LR/(1-β1^s) · m / (√v/√(1-β2^s) + Eps). w, m, v, grad float32 of one size;
	// copy receives w in the act type, None where act is float32.
	AdamW(w, m, v, grad, copy Tensor, h AdamW)
}
