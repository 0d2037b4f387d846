package ops

// Embedding turns ids into rows, and gives their gradients back.
type Embedding interface {
	// EmbedForward: y[t] = table[ids[t]], NaN where the id is no row. y (T,C) act, table (V,C) any format, ids (T) int32.
	EmbedForward(y Tensor, table Weight, ids Tensor)
	// EmbedBackward: dTable[ids[t]] += dy[t], in the order of t, but for ids that are no row. dTable (V,C) float32, dy
	// (T,C) act.
	EmbedBackward(dTable, dy, ids Tensor)
}
