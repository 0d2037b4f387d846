package ckpt

import (
	"bytes"
	"slices"

	"longlora/internal/model"
)

// Names that most families give to the two tensors that a tied model has as one.
var (
	embedName = model.Llama.Embed + ".weight"
	headName  = model.Llama.Head + ".weight"
)

// isEmbed reports whether a tensor is some family's embedding.
func isEmbed(name string) bool {
	return slices.ContainsFunc(model.Archs, func(a *model.Arch) bool { return name == a.Embed+".weight" })
}

// isEnd reports whether a tensor has a row for each token of the vocabulary: some family's embedding or head.
func isEnd(name string) bool {
	return isEmbed(name) || slices.ContainsFunc(model.Archs, func(a *model.Arch) bool { return name == a.Head+".weight" })
}

// tie decides whether embedding and output head are one tensor, as transformers 5 does: they are where config.json
// ties them, unless the weights hold two different ones. What is there is then the embedding.
func (m *Model) tie() {
	embedName, headName := m.Config.EmbedName(), m.Config.HeadName()
	e, haveEmbed := m.Tensors[embedName]
	h, haveHead := m.Tensors[headName]
	m.Tied = m.Config.Tied && (!haveEmbed || !haveHead || Equal(e, h))
	if !m.Tied || !haveHead {
		return
	}
	if delete(m.Tensors, headName); !haveEmbed {
		m.Tensors[embedName] = h
	}
}

// Equal reports whether two weights have the same shape and the same values, of whatever types they are.
func Equal(a, b Tensor) bool {
	if !a.Shape.Equal(b.Shape) || !a.Weight() || !b.Weight() {
		return false
	}
	const part = 1 << 16
	var x, y []float32
	for lo, n := 0, a.Shape.Elems(); lo < n; lo += part {
		hi := min(lo+part, n)
		if a.DType == b.DType {
			if !bytes.Equal(a.Bytes(lo, hi), b.Bytes(lo, hi)) {
				return false
			}
			continue
		}
		x, y = slices.Grow(x[:0], hi-lo)[:hi-lo], slices.Grow(y[:0], hi-lo)[:hi-lo]
		a.Range(x, lo)
		b.Range(y, lo)
		if !slices.Equal(x, y) {
			return false
		}
	}
	return true
}

// SetTied writes into the object of a config.json that embedding and head are two tensors, where they are and it says
// otherwise.
func (c *Config) SetTied(raw map[string]any, tied bool) {
	if c.Tied && !tied {
		raw["tie_word_embeddings"] = false
	}
}
