package model

import "iter"

// phase is what is done in a cell.
type phase uint8

const (
	forward phase = iota // keeping nothing but the keys and values that later tiles need
	halo                 // the same of the last layer, where nothing but those is wanted
	keeping              // forward, keeping what the policy says for the way back
	back                 // the backward pass
)

// cell is one layer of one tile in one phase. A step is a sequence of cells. What a cell needs of others are the stream
// (of its tile, from the layer before or, on the way back, after), the activations that its tile's keeping cell left
// and, of the same layer in other tiles, its halo: on the way forward keys and values of the tiles before it
// (reach.needs), on the way back the gradients that later tiles owe it (reach.owed). Any order in which each cell comes
// after those is a step.
type cell struct {
	phase       phase
	tile, layer int
}

// appended is the tile of a session: what was appended to it last.
const appended = -1

// stepCells is a step on one card, row by row: every tile but the last forward, then from the last tile to the first
// each forward again, keeping its activations, and back. With one tile nothing is made twice.
func stepCells(tiles, layers int) iter.Seq[cell] {
	return func(yield func(cell) bool) {
		for i := range tiles - 1 {
			for c := range rowCells(i, layers, true) {
				if !yield(c) {
					return
				}
			}
		}
		for i := tiles - 1; i >= 0; i-- {
			for l := range layers {
				if !yield(cell{keeping, i, l}) {
					return
				}
			}
			for l := layers - 1; l >= 0; l-- {
				if !yield(cell{back, i, l}) {
					return
				}
			}
		}
	}
}

// rowCells is one tile forward through all layers; with haloOnly its last output is not wanted.
func rowCells(tile, layers int, haloOnly bool) iter.Seq[cell] {
	return func(yield func(cell) bool) {
		for l := range layers {
			c := cell{forward, tile, l}
			if haloOnly && l == layers-1 {
				c.phase = halo
			}
			if !yield(c) {
				return
			}
		}
	}
}
