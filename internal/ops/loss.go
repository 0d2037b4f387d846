package ops

// HeadLoss describes the output head and cross-entropy over a tile, computed in chunks of rows so that no
// (T,V) tensor exists.
type HeadLoss struct {
	X       Tensor  // (T,C) act, the normed hidden states
	W       Weight  // (V,C) any format
	DW      Tensor  // (V,C) float32, added to; None when the head is frozen or without backward pass
	Targets Tensor  // (T) int32; -1 where the token is not scored
	NLL     Tensor  // (T) float32, written: -log p(target), 0 where not scored, NaN where the target is not below V
	Best    Tensor  // (T) int32 or None, written: the most probable token, the lowest of equals
	DX      Tensor  // (T,C) act, written: gradient of Scale·ΣNLL; None without backward pass
	Cap     float32 // logits z become Cap·tanh(z/Cap); 0: they stay
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
