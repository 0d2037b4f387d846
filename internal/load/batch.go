package load

import (
	"longlora/internal/data"
	"longlora/internal/model"
	"longlora/internal/ops"
)

// Batches lays rows end to end as micro-batches, in buffers that are used again.
type Batches struct {
	Seed uint64 // of dropout
	Drop bool
	b    model.Batch
}

// Start empties the batch.
func (w *Batches) Start() {
	b := &w.b
	b.IDs, b.Targets, b.Keys = b.IDs[:0], b.Targets[:0], b.Keys[:0]
	b.Docs = append(b.Docs[:0], 0)
}

// Add appends a row. A token's target is the next one of its document, where that is scored; the last of a document
// has none. Dropout keys are a function of seed, step, sample and place in the row, so they do not depend on how rows
// are batched.
func (w *Batches) Add(r data.Row, step, sample int64) {
	b := &w.b
	first := len(b.IDs)
	b.IDs = append(b.IDs, r.IDs...)
	k := 0 // the stretch of scored tokens that the next target may lie in
	for i := range r.Docs {
		end := len(r.IDs)
		if i+1 < len(r.Docs) {
			end = int(r.Docs[i+1])
		}
		for t := int(r.Docs[i]); t < end; t++ {
			target := int32(-1)
			for k < len(r.Scored) && int(r.Scored[k].Hi) <= t+1 {
				k++
			}
			if t+1 < end && (r.Scored == nil || k < len(r.Scored) && int(r.Scored[k].Lo) <= t+1) {
				target = r.IDs[t+1]
			}
			b.Targets = append(b.Targets, target)
		}
		b.Docs = append(b.Docs, int32(first+end))
	}
	for t := range r.IDs {
		if w.Drop {
			b.Keys = append(b.Keys, ops.DropKey(w.Seed, step, sample, int32(t)))
		}
	}
}

// Batch is what was added since start.
func (w *Batches) Batch() *model.Batch {
	if !w.Drop {
		w.b.Keys = nil
	}
	return &w.b
}

// Scored is the number of targets in a row: tokens that may be one, but for the first of each document.
func Scored(r data.Row) int {
	if r.Scored == nil {
		return len(r.IDs) - len(r.Docs)
	}
	n, d := 0, 0
	for _, s := range r.Scored {
		n += int(s.Hi - s.Lo)
		for ; d < len(r.Docs) && r.Docs[d] < s.Hi; d++ {
			if r.Docs[d] >= s.Lo {
				n--
			}
		}
	}
	return n
}

// Row makes one row a batch of its own, to be scored.
func (w *Batches) Row(r data.Row) *model.Batch {
	w.Start()
	w.Add(r, 0, 0)
	return w.Batch()
}
