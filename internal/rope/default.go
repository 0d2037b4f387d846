package rope

// Default are the inverse frequencies (D/2) of unscaled positions with theta 10000, and the factor of cos and sin.
func Default(headDim int) ([]float32, float32) {
	return Positions{Type: "default", Theta: 10000, Factor: 1}.InvFreq(headDim, 0)
}
