package ops

// SwiGLU is the gate of an MLP (arXiv 2002.05202, eq. 6).
type SwiGLU interface {
	// SwiGLUForward: h = g·σ(g)·u. All (T,F) act.
	SwiGLUForward(h, g, u Tensor)
	// SwiGLUBackward: du = dh·g·σ(g), dg = dh·u·σ(g)·(1+g·(1-σ(g))). All (T,F) act; dg, du may be g, u.
	SwiGLUBackward(dg, du, dh, g, u Tensor)
}
