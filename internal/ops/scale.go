package ops

// Scale multiplies and adds: what families with multipliers, and with norms after a branch, need of the residual
// stream.
type Scale interface {
	// Scale: y = res + f·x, or f·x where res is None. y, res, x act of one size; y may be res or x.
	Scale(y, res, x Tensor, f float32)
}
