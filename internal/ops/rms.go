package ops

// RMSNorm is the norm of rows by their root mean square.
type RMSNorm interface {
	// RMSNormForward: y = x·r·(plus+w) with r = (mean(x²)+eps)^(-1/2) (arXiv 1910.07467, eq. 4; there plus is 0).
	// y, x (T,C) act; rstd (T) float32 receives r; w (C) float32.
	RMSNormForward(y, rstd, x, w Tensor, plus, eps float32)
	// RMSNormBackward: with g = dy·(plus+w) and r = rstd, dx += r·(g - x·r²·mean(g·x)) and dw += Σ_t dy·x·r.
	// dx (T,C) act is added to; dw (C) float32 is added to, None when w is frozen.
	RMSNormBackward(dx, dw, dy, x, rstd, w Tensor, plus float32)
}
