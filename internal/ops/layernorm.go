package ops

// LayerNorm is the norm of rows by their mean and variance.
type LayerNorm interface {
	// LayerNormForward: y = (x-m)·r·w + bias with m = mean(x), r = (mean((x-m)²)+eps)^(-1/2) (arXiv 1607.06450, eq. 4).
	// y, x (T,C) act; stat (T,2) float32 receives m and r; w, bias (C) float32.
	LayerNormForward(y, stat, x, w, bias Tensor, eps float32)
	// LayerNormBackward: with g = dy·w and h = (x-m)·r, dx += r·(g - mean(g) - h·mean(g·h)), dw += Σ_t dy·h and
	// dbias += Σ_t dy. dx (T,C) act is added to; dw, dbias (C) float32 are added to, None when frozen.
	LayerNormBackward(dx, dw, dbias, dy, x, stat, w Tensor)
}
