package ckpt

import (
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/rundir"
)

// peftPrefix stands before every module path in a PEFT file.
const peftPrefix = "base_model.model."

// Factors are what an adapter adds to one matrix W (out,in): Scale·B·A, and with DoRA (arXiv 2402.09353) the lengths
// that the sum's rows are brought to. PEFT has those of the embedding W (V,C) the other way round: Wᵀ + Scale·B·A.
type Factors struct {
	A, B      Tensor // (R,in) and (out,R); of the embedding (R,V) and (C,R)
	Magnitude Tensor // (out), of the embedding (C); without a name where there is no DoRA
	Full      Tensor // the weight that they were trained on, where it has rows beyond the model's and is in the file
	Scale     float64
	Embedding bool
}

// Rank is R.
func (f Factors) Rank() int { return f.A.Shape[0] }

// Adapter is a PEFT adapter, or the released LongLoRA form of one.
type Adapter struct {
	Dir    string
	Config *AdapterConfig
	LoRA   map[string]Factors // by module, "model.layers.0.self_attn.q_proj"
	Saved  map[string]Tensor  // what stands in the place of the base's tensors, by name, "model.embed_tokens.weight"
	Files  []string
	Untied bool // of a base whose head is its embedding it makes two tensors; known after Fit

	bases  map[string]Tensor // the base's own tensors, by name, as the adapter was trained beside them
	copies map[string]Tensor // second copies of Saved ones
	tokens map[string]Tensor // rows of embedding or head that were trained alone, by module
	apart  bool              // of which a head tied to the embedding has its own, or the embedding its own
	open   []*File
}

// OpenAdapter reads an adapter's folder.
func OpenAdapter(dir string) (*Adapter, error) {
	c, err := readAdapterConfig(dir)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Dir: dir, Config: c, LoRA: map[string]Factors{},
		Saved: map[string]Tensor{}, bases: map[string]Tensor{}, copies: map[string]Tensor{}, tokens: map[string]Tensor{}}
	if err := a.read(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// SideName is the file of the released LongLoRA form that holds what was trained whole.
const SideName = "trainable_params.bin"

// read finds the tensors in whichever form they are.
func (a *Adapter) read() error {
	names := []string{rundir.AdapterFile}
	if !files.Exists(filepath.Join(a.Dir, names[0])) {
		if names = []string{"adapter_model.bin"}; !files.Exists(filepath.Join(a.Dir, names[0])) {
			return noFactors(a.Dir)
		}
	}
	if files.Exists(filepath.Join(a.Dir, SideName)) {
		names = append(names, SideName)
	}
	for _, name := range names {
		f, err := openTensors(filepath.Join(a.Dir, name))
		if err != nil {
			return err
		}
		a.open, a.Files = append(a.open, f), append(a.Files, f.Path)
		for _, key := range slices.Sorted(maps.Keys(f.Tensors)) {
			if err := a.put(key, f.Tensors[key]); err != nil {
				return err
			}
		}
	}
	return a.check()
}

// Close unmaps the tensors.
func (a *Adapter) Close() {
	for _, f := range a.open {
		f.Close()
	}
}

// Tensors are all that the adapter computes with.
func (a *Adapter) Tensors() []Tensor {
	var ts []Tensor
	for _, path := range slices.Sorted(maps.Keys(a.LoRA)) {
		for _, t := range []Tensor{a.LoRA[path].A, a.LoRA[path].B, a.LoRA[path].Magnitude, a.LoRA[path].Full} {
			if t.Name != "" {
				ts = append(ts, t)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Saved)) {
		ts = append(ts, a.Saved[name])
	}
	return ts
}

// Targets are the last parts of the names of the modules with factors, sorted.
func (a *Adapter) Targets() []string {
	var names []string
	for path := range a.LoRA {
		names = append(names, path[strings.LastIndexByte(path, '.')+1:])
	}
	sort.Strings(names)
	return slices.Compact(names)
}

// Parts that PEFT puts between a module's name and its tensors'.
const (
	basePart     = ".base_layer."      // the base's own, beside factors
	originalPart = ".original_module." // the base's own, beside a module saved whole
	savedPart    = ".modules_to_save." // a second copy of the saved one, where the vocabulary grew
	tokenPart    = ".token_adapter."   // rows of trainable_token_indices, and the base's own beside them
)

// put finds a tensor's place. Names are with or without PEFT's prefix and the adapter's name "default".
func (a *Adapter) put(key string, t Tensor) error {
	name := strings.ReplaceAll(key, "_orig_mod.", "")                          // what torch.compile adds
	name = strings.TrimPrefix(strings.TrimPrefix(name, "module."), peftPrefix) // what DistributedDataParallel does
	name = strings.TrimSuffix(strings.Replace(name+".", ".default.", ".", 1), ".")
	if strings.Contains(name, ".lora_velora_") && a.Config.VeLoRA {
		return nil // state of the backward pass
	}
	if !t.Weight() {
		return errs.Dataf("%s: tensor %s is of type %s; F32, BF16 and F16 are supported", t.File, key, t.TypeName())
	}
	if module, ok := strings.CutSuffix(name, tokenPart+"trainable_tokens_delta"); ok {
		if was, twice := a.tokens[module]; twice && !Equal(was, t) {
			return errs.Dataf("%s: tensor %s is there under two names with different values", t.File, key)
		}
		a.tokens[module] = t
		return nil
	}
	name = strings.Replace(name, tokenPart, ".", 1)
	if module, part, ok := strings.Cut(name, ".lora_"); ok {
		if strings.Contains(module+".", originalPart) || strings.Contains(module+".", savedPart) {
			return errs.Dataf("%s: tensor %s: a module that has factors and is saved whole too is not supported; merge the "+
				"adapter with the PEFT that wrote it", t.File, key)
		}
		return a.putFactor(module, "lora_"+part, t)
	}
	to := a.Saved
	for part, other := range map[string]map[string]Tensor{basePart: a.bases, originalPart: a.bases, savedPart: a.copies} {
		if strings.Contains(name, part) {
			name, to = strings.Replace(name, part, ".", 1), other
		}
	}
	if was, twice := to[name]; twice && !Equal(was, t) {
		return errs.Dataf("%s: tensor %s is there under two names with different values", t.File, key)
	}
	to[name] = t
	return nil
}

// putFactor adds one of a module's factors.
func (a *Adapter) putFactor(module, part string, t Tensor) error {
	f := a.LoRA[module]
	var to *Tensor
	switch part {
	case "lora_A.weight":
		to = &f.A
	case "lora_B.weight":
		to = &f.B
	case "lora_embedding_A":
		to, f.Embedding = &f.A, true
	case "lora_embedding_B":
		to, f.Embedding = &f.B, true
	case "lora_magnitude_vector", "lora_magnitude_vector.weight":
		to = &f.Magnitude
	default:
		return errs.Dataf("%s: tensor %s is of a kind of LoRA that is not supported", t.File, t.Name)
	}
	if to.Name != "" && !Equal(*to, t) {
		return errs.Dataf("%s: tensor %s is there under two names with different values", t.File, t.Name)
	}
	*to = t
	a.LoRA[module] = f
	return nil
}

// rank is what a module's factors must have. With ensure_weight_tying a head's are the embedding's, whatever the
// patterns say of the head.
func (a *Adapter) rank(module string) int {
	if _, both := a.LoRA[moduleOf(embedName)]; both && a.Config.KeepTie && module == moduleOf(headName) {
		module = moduleOf(embedName)
	}
	return a.Config.rank(module)
}

// check looks for what adapter_config.json promises of the tensors that are there.
func (a *Adapter) check() error {
	for name, t := range a.copies {
		saved, ok := a.Saved[name]
		if ok && !Equal(saved, t) {
			return errs.Dataf("%s: tensor %s is there under two names with different values", t.File, t.Name)
		}
		a.Saved[name] = t
	}
	for _, module := range slices.Sorted(maps.Keys(a.LoRA)) {
		f := a.LoRA[module]
		if f.A.Name == "" || f.B.Name == "" {
			return errs.Dataf("%s: %s has only one of lora_A and lora_B", a.Files[0], module)
		}
		if r := a.rank(module); len(f.A.Shape) != 2 || len(f.B.Shape) != 2 || f.A.Shape[0] != r || f.B.Shape[1] != r {
			return errs.Dataf("%s: %s: lora_A %v and lora_B %v do not have rank r = %d of %s",
				f.A.File, module, f.A.Shape, f.B.Shape, r, rundir.AdapterConfigFile)
		}
		if has := f.Magnitude.Name != ""; has != a.Config.DoRA {
			return errs.Dataf("%s: use_dora: %v, but lora_magnitude_vector of %s is there: %v",
				a.Config.Path, a.Config.DoRA, module, has)
		}
		f.Scale = a.Config.scale(module)
		a.LoRA[module] = f
	}
	return a.Config.match.f.err
}
