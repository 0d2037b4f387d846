package ops

// Rotary is rotary position embedding (RoFormer, arXiv 2104.09864, eq. 34).
type Rotary interface {
	// RopeTable: angle = pos·inv in float32 (as transformers), cs[t] = [cos(angle)·scale | sin(angle)·scale].
	// cs (T,R) float32, pos (T) int32, inv (R/2) float32; R is the channels of a head that are turned.
	RopeTable(cs, pos, inv Tensor, scale float32)
	// Rope turns the first R channels of every head in pairs (i, i+R/2): y_i = x_i·cos - x_j·sin, y_j = x_j·cos + x_i·sin;
	// the others are copied. inverse turns with -sin, which is the backward pass. dst, src (T,Hx,D), act or float32, may
	// be the same memory; cs (T,R) float32, R ≤ D.
	Rope(dst, src, cs Tensor, inverse bool)
}
