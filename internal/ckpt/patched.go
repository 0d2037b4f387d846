package ckpt

import "longlora/internal/tensor"

// patched is a matrix of which some rows are another tensor's. Nothing is copied before it is asked for.
type patched struct {
	under Tensor
	rows  Tensor      // (n, columns)
	place map[int]int // from a row of the matrix to one of rows
	bare  bool        // under has no values: only its shape is known
}

// patch is a matrix with other rows: row ids[i] is row i of rows. Its type is the one that holds both.
func (t Tensor) patch(rows Tensor, ids []int) Tensor {
	p := &patched{under: t, rows: rows, place: make(map[int]int, len(ids))}
	for i, id := range ids {
		p.place[id] = i
	}
	out := Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, File: rows.File, patched: p}
	if rows.DType != t.DType {
		out.DType = tensor.F32
	}
	return out
}

// read fills out with the values from element lo on.
func (p *patched) read(out []float32, lo int) {
	if !p.bare {
		p.under.Range(out, lo)
	}
	cols := p.under.Shape[1]
	for r := lo / cols; r*cols < lo+len(out); r++ {
		i, ok := p.place[r]
		if !ok {
			continue
		}
		from, to := max(lo, r*cols), min(lo+len(out), (r+1)*cols)
		p.rows.Range(out[from-lo:to-lo], i*cols+from-r*cols)
	}
}

// Patched reports whether some rows are another tensor's.
func (t Tensor) Patched() bool { return t.patched != nil }
