package ops

// Embedding turns ids into rows, and gives their gradients back.
type Embedding interface {
	// EmbedForward: y[t] = table[ids[t]], NaN where the id is no row. y (T,C) act, table (V,C) any format, which may lie
	// in Host memory; ids (T) int32.
	EmbedForward(y Tensor, table Weight, ids Tensor)
	// EmbedBackward: dTable[ids[t]] += dy[t], in the order of t, but for ids that are no row. dTable (V,C) float32,
	// which may lie in Host memory; dy (T,C) act.
	EmbedBackward(dTable, dy, ids Tensor)
	// CopySet: dst[r] = src[r] where row s.First+r is of the set. dst, src (n,C) float32, of which either may lie in
	// Host memory.
	CopySet(dst, src Tensor, s RowSet)
}

// RowSet are some rows of a table, as tokens have them.
type RowSet struct {
	Bits  Tensor // (⌈V/64⌉) uint64: row r is of the set where bit r%64 of element r/64 is 1
	First int    // the row of the table that comes first
	N     int    // how many of those that are meant are of the set, to be counted
}
