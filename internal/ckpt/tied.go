package ckpt

import (
	"bytes"
	"slices"

	"longlora/internal/errs"
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

// nameHead gives the head the name that transformers writes on disk where it lies under the one that the module has in
// memory, as a state_dict that was saved by itself does. transformers reads both.
func (m *Model) nameHead() error {
	name, other := m.Config.HeadName(), m.Config.HeadModule()
	t, ok := m.Tensors[other+".weight"]
	if other == "" || !ok {
		return nil
	}
	if h, both := m.Tensors[name]; both && !Equal(h, t) {
		return errs.Dataf("%s: tensors %s.weight and %s (%s) are one module's and have different values; remove one",
			t.File, other, name, h.File)
	}
	m.Tensors[name] = t
	delete(m.Tensors, other+".weight")
	return nil
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
