// Package model is families of models as data, and one training step over them: forward and backward by tiles
// along the sequence, written on ops.Backend alone.
//
// # The step
//
// All rows of a micro-batch lie end to end in one sequence of N tokens, divided into tiles of T. Attention is
// local (package s2attn), so a tile needs of earlier tokens only the keys and values since its segments'
// starts: the halo. A step runs the tiles forward, keeping halos alone, then backward from the last tile to
// the first, each made again with its activations kept, handing dK and dV of its halo to the tiles before it.
// One tile (T = N) is the same code with no halo and nothing made again.
//
// # Memory
//
// Everything is taken from arenas. Running the same step on a counting backend and counting arenas says what
// it will need; see package plan.
package model

import (
	"longlora/internal/ops"
	"longlora/internal/tensor"
)

// Train says what is trained.
type Train struct {
	Full   bool               // every tensor
	Whole  map[string]bool    // the tensors that are trained whole, by name
	LoRA   map[string]LowRank // the low-rank terms of linear layers, by module path; the others have none
	Drop   float64            // probability at which inputs of low-rank terms are dropped
	Frozen bool               // nothing: for evaluation; low-rank terms are still applied
}

// LowRank is the size of a linear layer's low-rank term Scale·B·A.
type LowRank struct {
	Rank  int
	Scale float32
}

// TrainsNorms reports whether any of the norms is trained.
func (d Desc) TrainsNorms(tr Train) bool {
	for _, s := range d.Tensors() {
		if s.Norm() && tr.Whole[s.Name] {
			return true
		}
	}
	return false
}

// Norm is a norm's weight and, when trained, its gradient.
type Norm struct {
	W, DW       ops.Tensor // (C) float32
	Bias, DBias ops.Tensor // (C) float32; None but with LayerNorm
}

// Layer is one decoder layer.
type Layer struct {
	Norm  [norms]Norm // by role, from AttnIn on; without a weight where the family has none there
	Lin   [linears]ops.Linear
	still [linears]bool // the roles whose matrices are frozen
}

// norm is the norm of a role.
func (y *Layer) norm(r Role) *Norm { return &y.Norm[r-AttnIn] }

// Model holds the weights as the operations take them.
type Model struct {
	Desc
	Embed, Head   ops.Weight // (V,C); one when tied
	DEmbed, DHead ops.Tensor // (V,C) float32, their gradients; None when frozen
	Norm          Norm
	Layers        []Layer
	Params        *Params
	stream        *streamer // nil where all frozen matrices are resident
	parts         *Parts    // how they can be divided; nil where there is one process
}

// Memory is what a model is made in.
type Memory struct {
	Params *ops.Arena // what is trained, and small tensors that are not
	Format Formats    // how frozen matrices come; nil: in the activations' type
	Stream int        // layers whose frozen matrices wait in host memory
	// The host memory that they wait in, and the device memory that they come to; nil where none are.
	Waiting, Slots *ops.Arena
	Shard          int    // layers whose frozen matrices are divided; then none are streamed
	Parts          *Parts // how; nil for one process
	// The host memory that values and moments of whole matrices wait in, and all else of an embedding that is not the
	// head; nil where they lie with the others.
	State *ops.Arena
	Piece int // elements of those that come to the device at a time; 0: as many as suit a copy
}

// New sets a model up: frozen weights from the source through the backend, those of streamed layers into host memory,
// trained ones as float32 copies. LoRA factors start at zero; set them with Params.Set.
func New(b ops.Backend, d Desc, tr Train, src Source, mem Memory) (*Model, error) {
	m := &Model{Desc: d, Layers: make([]Layer, d.L), parts: mem.Parts}
	ps := newParams(b, d, tr, mem)
	m.Params = ps
	away := mem.Waiting // the memory of what is not resident
	switch {
	case mem.Shard > 0:
		m.stream, away = newStreamer(b, m, mem.Shard, mem.Parts), mem.Parts.Own
	case mem.Stream > 0:
		m.stream = newStreamer(b, m, mem.Stream, nil)
	}
	if card, ok := b.(ops.Card); ok {
		if err := card.ReserveWeights(frozen(d, ps, mem)); err != nil {
			return nil, err
		}
	}
	ld := loader{d: d, b: b, src: src, ps: ps, mem: mem, arena: mem.Params}
	m.Embed, m.DEmbed = ld.weight(d.EmbedName(), d.V, d.C)
	for l := range m.Layers {
		ld.layer(m, l, tr, away)
	}
	m.Norm = ld.norm(d.arch().Norm, d.C)
	if d.Tied {
		m.Head, m.DHead = m.Embed, m.DEmbed
	} else {
		m.Head, m.DHead = ld.weight(d.HeadName(), d.V, d.C)
	}
	if m.stream != nil && ld.err == nil {
		m.stream.place(mem.Slots)
		ld.err = m.stream.join()
	}
	if ld.err != nil {
		_ = m.Release() // the first error is what counts
		return nil, ld.err
	}
	return m, nil
}

// frozen is the memory that the matrices take which are neither trained nor of a streamed layer, in the arena's
// alignment; vectors lie elsewhere.
func frozen(d Desc, ps *Params, mem Memory) int64 {
	n := int64(0)
	for _, s := range d.Tensors() {
		if s.Layer < 0 || !streams(s.Layer, mem.Stream+mem.Shard, d.L) {
			n += room(d, ps, mem, s)
		}
	}
	return n
}

// room is the memory that a tensor takes if it is a matrix that is not trained, in the arena's alignment.
func room(d Desc, ps *Params, mem Memory, s TensorSpec) (n int64) {
	if s.Kind != KindMatrix || ps.ByName(s.Name) != nil {
		return 0
	}
	f := tensor.Dense(ps.b.Act())
	if mem.Format != nil {
		f = ops.Held(mem.Format(s.Name), ps.b.Act())
	}
	for _, rows := range d.rowsOf(s) {
		n += ops.Room(f, tensor.Shape{rows, s.Shape[1]})
	}
	return n
}

// rowsOf are the numbers of rows that a matrix is held in: those of its roles.
func (d Desc) rowsOf(s TensorSpec) []int {
	if s.Layer >= 0 {
		for _, p := range d.arch().Modules {
			if p.Roles[0] == s.Role {
				return d.split(p)
			}
		}
	}
	return []int{s.Shape[0]}
}

// Release gives back what frozen tensors take of a device's memory.
func (m *Model) Release() error {
	if card, ok := m.Params.b.(ops.Card); ok {
		return card.FreeWeights()
	}
	return nil
}
