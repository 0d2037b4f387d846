package ckpt

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/hub"
	"longlora/internal/tensor"
)

// weightFiles are looked for in this order, as transformers does.
var weightFiles = []string{"model.safetensors", indexFile, "pytorch_model.bin", "pytorch_model.bin.index.json"}

// openWeights finds the weights and opens them. A link counts even where it leads nowhere: what it names was meant.
func (m *Model) openWeights() error {
	for _, name := range weightFiles {
		path := filepath.Join(m.Dir, name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		if strings.HasSuffix(name, ".json") {
			return m.openIndex(path)
		}
		if !files.Exists(path) && hub.Download(m.Dir) != "" {
			return errs.Dataf("%s: a link that leads nowhere; %s", path, refetch(m.Dir))
		}
		return m.openFile(path)
	}
	return noWeights(m.Dir)
}

// openIndex opens every file that an index names, and takes all tensors in them: an index may name some that no file
// holds, and miss some that one does.
func (m *Model) openIndex(path string) error {
	var ix struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := files.ReadJSON(path, &ix); err != nil {
		return err
	}
	if len(ix.Map) == 0 {
		return errs.Dataf("%s: weight_map is missing or empty", path)
	}
	shards := map[string]bool{}
	for t, f := range ix.Map {
		if !filepath.IsLocal(f) || strings.HasSuffix(f, "/") {
			return errs.Dataf("%s: weight_map: %.200q of tensor %.200s is not a file in this folder", path, f, t)
		}
		shards[filepath.Clean(f)] = true
	}
	for _, f := range slices.Sorted(maps.Keys(shards)) {
		shard := filepath.Join(m.Dir, f)
		if !files.Exists(shard) {
			return errs.Dataf("%s: the shard is missing; %s names it; %s", shard, filepath.Base(path),
				refetch(m.Dir))
		}
		if err := m.openFile(shard); err != nil {
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
	return openTorch(path)
}

// openFile adds a file's tensors. Of two of one name the later file's counts, as in transformers.
func (m *Model) openFile(path string) error {
	f, err := openTensors(path)
	if err != nil {
		return err
	}
	m.open = append(m.open, f)
	m.Files = append(m.Files, path)
	twice := ""
	for n, t := range f.Tensors {
		if old, ok := m.Tensors[n]; ok && (twice == "" || n < twice) && !Equal(old, t) {
			twice = n
		}
		m.Tensors[n] = t
	}
	if twice != "" {
		m.Notes = append(m.Notes, fmt.Sprintf("%s: tensor %s, among others perhaps, lies in an earlier file with other "+
			"values: this one's is read, as transformers does", path, twice))
	}
	if len(f.Others) > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%s: %s: no tensor, passed over", path, short(f.Others)))
	}
	return nil
}

// short lists the first and the last of many names.
func short(names []string) string {
	if len(names) > 3 {
		names = []string{names[0], "…", names[len(names)-1]}
	}
	return strings.Join(names, ", ")
}

// Check looks for every tensor of shapes, and refuses those that are none of them. Buffers that old checkpoints carry
// are computed anew and passed over.
func (m *Model) Check(shapes map[string]tensor.Shape) error {
	var others []string
	for n, t := range m.Tensors {
		if _, ok := shapes[n]; ok || isBuffer(n) {
			continue
		}
		if how := quantisedName(n); how != "" { // before what such a checkpoint lacks
			return quantisedError(t.File, "tensor "+n, how)
		}
		others = append(others, n)
	}
	for _, n := range slices.Sorted(maps.Keys(shapes)) {
		if _, err := m.Get(n, shapes[n]); err != nil {
			return err
		}
	}
	if len(others) > 0 {
		n := slices.Min(others)
		return errs.Dataf("%s: tensor %s has no place in the %s that %s describes: the two do not belong together%s",
			m.Tensors[n].File, n, m.Config.Arch.Class, m.Config.Path, biasHint(n))
	}
	return nil
}

// biasHint names the fields that say whether there are biases.
func biasHint(tensor string) string {
	if strings.HasSuffix(tensor, ".bias") {
		return " (attention_bias and mlp_bias say which layers have a bias)"
	}
	return ""
}

// isBuffer reports whether a tensor is no weight but something that follows from config.json.
func isBuffer(name string) bool {
	for _, end := range []string{".inv_freq", ".cos_cached", ".sin_cached", ".masked_bias", ".attention.bias"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
