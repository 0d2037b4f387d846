// Package ops is the contract between the step's code and what executes it. Each operation is defined
// here once: its formula, its shapes and its source. ops/cpu makes the definitions executable, ops/cuda
// makes them fast, ops/optest judges both, and Counter only counts.
//
// # Letters
//
// N tokens of a sequence, T tokens of a tile, C model width, H query heads, Hkv key/value heads,
// D head size, F MLP width, V vocabulary, R LoRA rank. A "sequence" is all rows of a micro-batch laid end
// to end; documents (rows, or parts of rows) are intervals of it and nothing ever crosses them. Padding
// is not represented: it is left out.
//
// # Layout
//
// Token-major everywhere: q (T,H,D), k and v (W,Hkv,D); linear weights (out,in) as on disk. "act" is the
// backend's activation type (float32 on the CPU, bfloat16 on a GPU). Weights may be of any float type.
// Gradients of parameters, and the keys' and values' gradients, are float32 sums.
//
// # Order and errors
//
// Calls only enqueue. They run in order; a later call sees what an earlier one wrote. An error is kept
// and returned by the next Sync or Download. Arguments of wrong shape or type are programming errors and
// panic at once. Every operation gives the same bits for the same arguments on the same hardware path,
// for any number of threads.
package ops

import (
	"context"
	"unsafe"

	"longlora/internal/tensor"
)

// Space is a kind of memory.
type Space uint8

const (
	// Device is the memory that operations work on.
	Device Space = iota
	// Host is where halos and moved activations wait: page-locked memory beside a GPU, ordinary memory on the CPU.
	Host
	// Shared is Device memory that other processes of the machine can read: see Sharer.
	Shared
)

// Backend executes operations.
type Backend interface {
	// Name is "cpu", "cuda:0" or "count".
	Name() string
	// Act is the type of activations.
	Act() tensor.DType
	// Reserve takes one region of memory; the address is aligned to Align. The region is zeroed.
	Reserve(s Space, bytes int64, name string) (unsafe.Pointer, error)
	// Free gives a region back.
	Free(s Space, p unsafe.Pointer, bytes int64)
	// Weight makes a frozen matrix available from mapped file bytes, in the format that Held says. The CPU keeps the
	// mapping and copies nothing.
	Weight(s tensor.Stored) (Weight, error)
	// WorkspaceBytes is what the backend itself holds for packing and libraries, in device memory.
	WorkspaceBytes() int64
	// Sync waits for everything enqueued and returns the first error since the last Sync.
	Sync() error

	Transfer
	Linears
	Embedding
	RMSNorm
	LayerNorm
	Rotary
	SwiGLU
	GELU
	Scale
	Attention
	Losses
	Optimizer
}

// Heeder is a backend of which one operation may take longer than who interrupts it will wait.
type Heeder interface {
	// Heed makes operations end early, with results of no use, once ctx is done. done, called when no operation is under
	// way, ends that; by ctx its caller knows whether to throw away what was computed.
	Heed(ctx context.Context) (done func())
}
