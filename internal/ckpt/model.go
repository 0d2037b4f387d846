package ckpt

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/hub"
	"longlora/internal/tensor"
)

// Model is an open Hugging Face checkpoint.
type Model struct {
	Dir     string
	Config  *Config
	Tied    bool // the output head is the embedding
	Tensors map[string]Tensor
	Files   []string // of weights, by name
	Notes   []string // what the user should be told of them
	open    []*File
}

// Close unmaps the weights.
func (m *Model) Close() {
	for _, f := range m.open {
		f.Close()
	}
}

// Resolve turns what a user calls a model into its folder: the folder itself, or what a Hugging Face name has in the
// local cache.
func Resolve(name string) (string, error) {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return hub.Snapshot(name)
	case !st.IsDir():
		return "", fileNotFolder(name)
	}
	return name, nil
}

// OpenModel resolves a folder or a Hugging Face name and opens it.
func OpenModel(name string) (*Model, error) {
	dir, err := Resolve(name)
	if err != nil {
		return nil, err
	}
	cfg, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	m := &Model{Dir: dir, Config: cfg, Tensors: map[string]Tensor{}}
	if err := m.openWeights(); err != nil {
		m.Close()
		return nil, err
	}
	if err := cmp.Or(m.nameHead(), m.readNF4()); err != nil {
		m.Close()
		return nil, err
	}
	m.tie()
	return m, nil
}

// Get is a tensor by name, of the shape given; a tied model's head is its embedding.
func (m *Model) Get(name string, shape tensor.Shape) (Tensor, error) {
	if m.Tied && name == m.Config.HeadName() {
		name = m.Config.EmbedName()
	}
	t, ok := m.Tensors[name]
	if !ok {
		return t, errs.Dataf("%s: tensor %s is missing from the weights (%s); fetch the checkpoint again%s", m.Dir, name,
			m.fileNames(), m.instead(name))
	}
	if !t.Weight() {
		if t.foreign != "" { // integers and 8-bit floats hold weights in fewer bits
			return t, quantisedError(t.File, fmt.Sprintf("tensor %s is of type %s", name, t.foreign), "")
		}
		return t, errs.Dataf("%s: tensor %s is of type %s; F32, BF16 and F16 are read, so give a checkpoint in one of these",
			t.File, name, t.TypeName())
	}
	if !t.Shape.Equal(shape) {
		return t, errs.Dataf("%s: tensor %s has shape %v, config.json asks for %v: the two are not of one model", t.File,
			name, t.Shape, shape)
	}
	return t, nil
}

// instead says what a missing tensor may be.
func (m *Model) instead(name string) string {
	if _, embed := m.Tensors[m.Config.EmbedName()]; embed && name == m.Config.HeadName() {
		return ", or set tie_word_embeddings to true in config.json if the head is the embedding"
	}
	for _, n := range slices.Sorted(maps.Keys(m.Tensors)) {
		if strings.HasSuffix(n, "."+name) || "model."+n == name { // saved from a wrapper, or from within the model
			return fmt.Sprintf(", or save it with transformers' own names: it holds %s in its place", n)
		}
	}
	return ""
}

// fileNames lists the weight files, the first and the last where there are many.
func (m *Model) fileNames() string {
	var names []string
	for _, f := range m.Files {
		names = append(names, filepath.Base(f))
	}
	return short(names)
}
