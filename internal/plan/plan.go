// Package plan says, before a weight is read, what work will need and how long it will take, and chooses how to carry
// it out: a training step, the scoring of a row, or a session that generates.
//
// Memory is not estimated: the step's own code runs against a backend that only counts and arenas that only
// count, and what they report is what the real arenas will be. Time is operations over rates. A step is chosen by
// enumeration over tile lengths and over how many layers keep what, the least predicted time that fits; it uses
// built-in rates, so that the same machine and limits always give the same plan and the same bits. What only goes
// forward takes the longest tile that fits.
package plan

import (
	"fmt"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/ops"
	"longlora/internal/s2attn"
)

// Kind is what work does.
type Kind int

const (
	// Step is an optimizer step.
	Step Kind = iota
	// Score is the losses of a row's tokens.
	Score
	// Session is a sequence whose keys and values are kept while it grows.
	Session
)

// Work is what is to be planned.
type Work struct {
	Kind   Kind
	Desc   model.Desc
	Train  model.Train
	Weight model.Formats // how the frozen weights are stored
	Spec   s2attn.Spec
	Ctx    int  // tokens of a row, or a session at most
	Prompt int  // tokens of a session that are given; the rest is made
	Batch  int  // rows of a micro-batch
	Chain  int  // ranks that divide a micro-batch, a span each; 0 is one
	Cuts   bool // rows hold several documents: halos may be as long as any cuts make them
	Forced Forced
	Score  []s2attn.Spec // of a step: ways of attending that rows are also scored with, in the same arenas
	Last   *Last         // of a step: what a run's last steps do otherwise, nil where all are alike
	IDs    int64         // host bytes of token ids and row tables
	Ranks  int           // processes that add up a step's gradients; 0 is one
	Peers  int           // processes of this machine among which frozen weights can be divided; 0 is one
	Apart  string        // why there is but one, where it could be several: "the GPUs can not read each other's memory"
	Made   int64         // host bytes of matrices that loading makes
	Asked  string        // what a refusal says does not fit; "" is --ctx and its tokens
}

// asked is what a refusal says does not fit.
func (p Work) asked() string {
	if p.Asked != "" {
		return p.Asked
	}
	return fmt.Sprintf("%s %d", errs.Option("ctx"), p.Ctx)
}

// Cut is Cuts for rows that are cut, or padded: where rows are of several lengths so are halos, once a row is divided.
func (p Work) Cut(cut, padded bool) bool { return cut || padded && (p.Batch > 1 || p.Chain > 1) }

// problem is work for a planner.
type problem struct {
	Work
	Planner
}

// Forced is what the user wants of a plan; the rest is free.
type Forced struct {
	Tile  int    // tokens, 0 when free
	Keep  string // what layers keep, "" when free
	Moved *int   // layers whose kept part is moved, nil when free
	// layers whose frozen weights are streamed, nil when free; of no meaning where all memory is the host's
	Stream *int
	Shard  *int // layers whose frozen weights are divided among processes, nil when free
	// whether the state of matrices that are trained whole waits in host memory, nil when free
	HostState *bool
}

// Plan is a choice and what it costs.
type Plan struct {
	model.Tiling
	Params     int64 `json:"params_bytes"`           // trained values, gradients and moments, frozen norms
	Act        int64 `json:"act_bytes"`              // activations, windows, gradients, logits chunk
	Halo       int64 `json:"halo_bytes"`             // keys and values between tiles, and their gradients
	MovedBytes int64 `json:"moved_bytes"`            // activations moved to host memory
	Workspace  int64 `json:"workspace_bytes"`        // packing buffers and libraries
	Context    int64 `json:"context_bytes"`          // the driver's context, the kernels' code and the libraries
	Weights    int64 `json:"weights_bytes"`          // frozen weights that are resident: mapped pages on the CPU
	Slots      int64 `json:"slots_bytes"`            // of the device, for streamed weights
	Shared     int64 `json:"shared_bytes,omitempty"` // of the device, this process's part of sharded weights
	Streamed   int64 `json:"streamed_bytes"`         // frozen weights that wait in host memory
	State      int64 `json:"state_bytes"`            // trained matrices' state that waits in host memory
	Made       int64 `json:"made_bytes,omitempty"`   // matrices that loading makes: encoded ones, and an adapter's
	IDs        int64 `json:"ids_bytes"`
	Base       int64 `json:"base_bytes"` // the process itself

	Device    int64    `json:"device_bytes"`
	Host      int64    `json:"host_bytes"`
	Cost      ops.Cost `json:"-"` // of one micro-batch
	Optimizer ops.Cost `json:"-"` // of one update
	Trainable int64    `json:"trainable"`

	Last *Plan `json:"last,omitempty"` // of a run's last steps, see Last; the fields above are the first ones' alone
}

// How says how the plan is carried out.
func (pl Plan) How() string { return fmt.Sprintf("tile %d, keeping %s", pl.Tile, pl.Kept()) }
