package ops

// GELU is the Gaussian error linear unit (arXiv 1606.08415), exact, x·Φ(x), or by tanh,
// x/2·(1+tanh(√(2/π)·(x+0.044715·x³))).
type GELU interface {
	// GELUForward: h = gelu(g)·u, or gelu(g) where u is None. All (T,F) act.
	GELUForward(h, g, u Tensor, tanh bool)
	// GELUBackward: dg = dh·u·gelu'(g), du = dh·gelu(g); u None counts as 1, and du is None then. All (T,F) act; dg, du
	// may be g, u.
	GELUBackward(dg, du, dh, g, u Tensor, tanh bool)
}
