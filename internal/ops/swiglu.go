package ops

// SwiGLU is the gate of an MLP (arXiv 2002.05202, eq. 6).
type SwiGLU interface {
	// SwiGLUForward: h = g·σ(g)·u. All (T,F) act.
	SwiGLUForward(h, g, u Tensor)
	// SwiGLUBackward: du = dh·g·σ(g), dg = dh·u·σ(g)·(1+g·(1-σ(g))). All (T,F) act; dg, du may be g, u.
	SwiGLUBackward(dg, du, dh, g, u Tensor)
}

// Gater is a backend that can do SwiGLU and the linear layers beside it in one, what is between them being in a form of
// its own. Where it cannot, or it is no quicker, it reports false and has done nothing.
type Gater interface {
	// GatedForward is SwiGLUForward(h, g, u), then LinearForward of h; what h (T,F) act holds afterwards is of no use.
	GatedForward(h, g, u Tensor, p Proj) bool
	// GatedBackward is SwiGLUBackward(gate.DY, up.DY, dh, gate.DY, up.DY), then LinearBackward of dx by gate and up; what
	// their DY (T,F) act hold afterwards is of no use.
	GatedBackward(dx, dh Tensor, gate, up ProjGrad) bool
}
