package ops

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
	// copy receives w in the act type, None where act is float32; it may lie in Host memory.
	AdamW(w, m, v, grad, copy Tensor, h AdamW)
}
