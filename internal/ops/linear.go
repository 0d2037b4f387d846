package ops

// Linear is one linear layer: y = x·Wᵀ + bias, with LoRA y = x·Wᵀ + bias + Scale·drop(x)·Aᵀ·Bᵀ (LoRA, arXiv 2106.09685,
// eq. 3).
type Linear struct {
	W     Weight // (out,in) any format
	DW    Tensor // (out,in) float32, gradient added up; None when W is frozen
	Bias  Tensor // (out) act; None without
	DBias Tensor // (out) float32, gradient added up; None when Bias is frozen
	LoRA  *LoRA  // nil without
}

// Alone reports whether nothing reads the layer's input and its output's gradient but products with W.
func (l *Linear) Alone() bool { return l.LoRA == nil && l.DW.None() && l.DBias.None() }

// LoRA is the low-rank part of a linear layer.
type LoRA struct {
	A      Tensor  // (R,in) act
	B      Tensor  // (out,R) act
	DA, DB Tensor  // float32, gradients added up
	Scale  float32 // alpha/R
	Drop   Dropout
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
