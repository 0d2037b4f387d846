package ckpt

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/tensor"
)

// Model is an open Hugging Face checkpoint.
type Model struct {
	Dir     string
	Config  *Config
	Tied    bool // the output head is the embedding
	Tensors map[string]Tensor
	Files   []string // of weights, by name
	open    []*File
}

// Close unmaps the weights.
func (m *Model) Close() {
	for _, f := range m.open {
		f.Close()
	}
}

// OpenModel resolves a folder or a Hugging Face name and opens it. Tensors are asked for by name, so what the model
// family does not have (rotary buffers of old checkpoints, a second name of a tied embedding) is never read.
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
	m.tie()
	return m, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// openWeights finds the weights in the order in which transformers looks for them.
func (m *Model) openWeights() error {
	one := filepath.Join(m.Dir, "model.safetensors")
	index := filepath.Join(m.Dir, indexFile)
	bin, binIndex := filepath.Join(m.Dir, "pytorch_model.bin"), filepath.Join(m.Dir, "pytorch_model.bin.index.json")
	switch {
	case exists(one):
		return m.openFile(one, nil)
	case exists(index):
		return m.openIndex(index)
	case exists(bin):
		return m.openFile(bin, nil)
	case exists(binIndex):
		return m.openIndex(binIndex)
	}
	return errs.Dataf("%s: no weights: neither model.safetensors, %s, pytorch_model.bin nor its index is there", m.Dir, indexFile)
}

func (m *Model) openIndex(path string) error {
	var ix struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := ReadJSON(path, &ix); err != nil {
		return err
	}
	if len(ix.Map) == 0 {
		return errs.Dataf("%s: weight_map is missing or empty", path)
	}
	byFile := map[string][]string{}
	for t, f := range ix.Map {
		if f != filepath.Base(f) {
			return errs.Dataf("%s: weight_map: %q of tensor %s is not a file name", path, f, t)
		}
		byFile[f] = append(byFile[f], t)
	}
	files := make([]string, 0, len(byFile))
	for f := range byFile {
		files = append(files, f)
	}
	sort.Strings(files)
	for _, f := range files {
		if !exists(filepath.Join(m.Dir, f)) {
			return errs.Dataf("%s: the shard is missing; %s names it", filepath.Join(m.Dir, f), filepath.Base(path))
		}
		if err := m.openFile(filepath.Join(m.Dir, f), byFile[f]); err != nil {
			return err
		}
	}
	return nil
}

// openTensors opens a file of either kind.
func openTensors(path string) (*File, error) {
	if strings.HasSuffix(path, ".safetensors") {
		return OpenSafetensors(path)
	}
	return OpenTorch(path)
}

// openFile adds a file's tensors: all, or those that the index places there.
func (m *Model) openFile(path string, names []string) error {
	f, err := openTensors(path)
	if err != nil {
		return err
	}
	m.open = append(m.open, f)
	m.Files = append(m.Files, path)
	if names == nil {
		for n := range f.Tensors {
			names = append(names, n)
		}
	}
	for _, n := range names {
		t, ok := f.Tensors[n]
		if !ok {
			return errs.Dataf("%s: tensor %s is missing; the index places it there", path, n)
		}
		m.Tensors[n] = t
	}
	return nil
}

// Get is a tensor by name, of the shape given; a tied model's head is its embedding.
func (m *Model) Get(name string, shape tensor.Shape) (Tensor, error) {
	if m.Tied && name == headName {
		name = embedName
	}
	t, ok := m.Tensors[name]
	if !ok {
		return t, errs.Dataf("%s: tensor %s is missing from the weights (%s); fetch the checkpoint again", m.Dir, name, m.fileNames())
	}
	if !t.Weight() {
		return t, errs.Dataf("%s: tensor %s is of type %s; F32, BF16 and F16 are supported, so use a checkpoint in one of these", t.File, name, t.TypeName())
	}
	if !t.Shape.Equal(shape) {
		return t, errs.Dataf("%s: tensor %s has shape %v, config.json asks for %v: the two are not of one model", t.File, name, t.Shape, shape)
	}
	return t, nil
}

// fileNames lists the weight files, the first and the last where there are many.
func (m *Model) fileNames() string {
	var names []string
	for _, f := range m.Files {
		names = append(names, filepath.Base(f))
	}
	if len(names) > 3 {
		names = []string{names[0], "…", names[len(names)-1]}
	}
	return strings.Join(names, ", ")
}

// Print is a checkpoint's fingerprint: sha256 of config.json, and each weight file's.
type Print struct {
	Config string      `json:"config_sha256"`
	Files  []FilePrint `json:"files"`
}

// PrintModel fingerprints config.json and the files given.
func PrintModel(dir string, files []string) (Print, error) {
	b, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return Print{}, errs.Dataf("%w", err)
	}
	h := sha256.Sum256(b)
	p := Print{Config: hex.EncodeToString(h[:])}
	for _, f := range files {
		fp, err := PrintFile(f, filepath.Base(f))
		if err != nil {
			return Print{}, err
		}
		p.Files = append(p.Files, fp)
	}
	return p, nil
}

// carried are the files beside the weights that a derived checkpoint keeps.
var carried = []string{"generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
	"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json"}

// CarryOver copies generation_config.json and the tokenizer's files.
func CarryOver(dst, src string) error {
	for _, n := range carried {
		if from := filepath.Join(src, n); exists(from) {
			if err := CopyFile(filepath.Join(dst, n), from); err != nil {
				return err
			}
		}
	}
	return nil
}

// Resolve turns --model into a folder: the folder itself, or a Hugging Face name's snapshot in the local cache.
func Resolve(name string) (string, error) {
	if st, err := os.Stat(name); err == nil {
		if !st.IsDir() {
			return "", errs.Dataf("%s: a file where a checkpoint's folder is wanted", name)
		}
		return name, nil
	}
	org, repo, ok := strings.Cut(name, "/")
	if !ok || org == "" || org == "." || org == ".." || repo == "" || strings.Contains(repo, "/") {
		return "", errs.Dataf("%s: no such folder", name)
	}
	root := filepath.Join(HubCache(), "models--"+org+"--"+repo)
	ref, err := os.ReadFile(filepath.Join(root, "refs", "main"))
	dir := filepath.Join(root, "snapshots", strings.TrimSpace(string(ref)))
	if err != nil || !exists(filepath.Join(dir, "config.json")) {
		return "", errs.Dataf("%s: neither a folder nor in the local cache (%s); download it with: hf download %s", name, root, name)
	}
	return dir, nil
}

// HubCache is the folder of the local Hugging Face cache: HF_HUB_CACHE, HF_HOME/hub, or the default; "" where there is no
// home folder.
func HubCache() string {
	if d := os.Getenv("HF_HUB_CACHE"); d != "" {
		return d
	}
	if d := os.Getenv("HF_HOME"); d != "" {
		return filepath.Join(d, "hub")
	}
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "huggingface", "hub")
}
