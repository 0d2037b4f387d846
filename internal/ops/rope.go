package ops

// Rotary is rotary position embedding (RoFormer, arXiv 2104.09864, eq. 34).
type Rotary interface {
	// RopeTable: angle = pos·inv in float32 (as transformers), cs[t] = [cos(angle)·scale | sin(angle)·scale].
	// cs (T,D) float32, pos (T) int32, inv (D/2) float32.
	RopeTable(cs, pos, inv Tensor, scale float32)
	// Rope turns pairs (i, i+D/2) of every head: y_i = x_i·cos - x_j·sin, y_j = x_j·cos + x_i·sin; inverse turns
	// with -sin, which is the backward pass. dst, src (T,Hx,D), act or float32, may be the same memory.
	Rope(dst, src, cs Tensor, inverse bool)
}
