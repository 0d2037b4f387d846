package ops

// Card is a backend on a device with memory of its own.
type Card interface {
	Backend
	// Chip describes the device.
	Chip() Chip
	// ContextBytes is the device memory that the context, the kernels' code and the libraries took before any arena.
	ContextBytes() int64
	// Used is the device memory in use now, in bytes, as the driver counts it: other processes' is in it.
	Used() (int64, error)
	// MultiplyFP8 says whether weights in FP8 are multiplied in FP8 from now on, for which RoomFP8 bytes more are held, or
	// made wide before; an error of kind Usage says what is missing here.
	MultiplyFP8(on bool) error
	// ReserveWeights takes room for the frozen tensors of a model, n bytes in all, each rounded up to Align.
	ReserveWeights(n int64) error
	// FreeWeights gives the memory of all frozen tensors back.
	FreeWeights() error
}

// RoomFP8 is what products in FP8 take of device memory, in bytes: a tile's activations and a matrix that is turned
// round, in 8 bits; what is larger is taken in pieces.
const RoomFP8 = 512 << 20

// Chip is a device's name and memory.
type Chip struct {
	Name        string // "NVIDIA H100 80GB HBM3"
	Total, Free int64  // bytes; Free as it was before this process took any
}
