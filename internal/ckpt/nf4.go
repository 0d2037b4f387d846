package ckpt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"longlora/internal/errs"
	"longlora/internal/quant"
	"longlora/internal/tensor"
)

// stateMark stands between the name of a matrix that bitsandbytes stores in 4 bits and the kind of its codes, in the
// name of the tensor that says how they are to be read.
const stateMark = ".quant_state.bitsandbytes__"

// nf4State is that tensor: a JSON object.
type nf4State struct {
	Kind   string   `json:"quant_type"`
	Block  int      `json:"blocksize"`
	Type   string   `json:"dtype"`
	Shape  []int    `json:"shape"`
	Nested int      `json:"nested_blocksize"`
	Factor string   `json:"nested_dtype"`
	Offset *float64 `json:"nested_offset"`
}

// What a state may say: more than that of any checkpoint.
const maxState, maxBlock = 1 << 16, 1 << 24

// readNF4 puts together the matrices that bitsandbytes stores as NF4, each from the tensors of its name: which ones
// they are the presence of a state says, as in transformers.
func (m *Model) readNF4() error {
	var foreign []string // matrices with another table than bitsandbytes'
	for _, name := range slices.Sorted(maps.Keys(m.Tensors)) {
		path, kind, ok := strings.Cut(name, stateMark)
		if !ok {
			continue
		}
		if kind != "nf4" {
			return quantisedError(m.Tensors[name].File, "tensor "+name, "bitsandbytes "+kind)
		}
		t, err := m.nf4(path, name)
		if err != nil {
			return errs.Dataf("%s: tensor %s: %w; fetch the checkpoint again", m.Tensors[name].File, path, err)
		}
		if ours := nf4Map(); !bytes.Equal(t.codes.Scales.Map, ours) {
			foreign = append(foreign, path)
			t.codes.Scales.Map = ours
		}
		for _, end := range []string{"", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"} {
			delete(m.Tensors, path+end)
		}
		delete(m.Tensors, name)
		m.Tensors[path] = t
	}
	if len(foreign) > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%s: quant_map of %s is not bitsandbytes' table of NF4, which it computes "+
			"with whatever is stored; so are the weights read here", m.Dir, short(foreign)))
	}
	return nil
}

// nf4Map is bitsandbytes' table as a checkpoint stores it.
var nf4Map = sync.OnceValue(func() []byte {
	b := make([]byte, 4*len(quant.NF4Table))
	tensor.Store(b, quant.NF4Table[:], tensor.F32)
	return b
})

// nf4 is the matrix at path, whose state is the tensor `state`.
func (m *Model) nf4(path, state string) (Tensor, error) {
	t := m.Tensors[path]
	var s nf4State
	raw := m.Tensors[state].raw()
	if len(raw) > maxState {
		return t, fmt.Errorf("%s has %d bytes", state, len(raw))
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return t, fmt.Errorf("%s: %w", state, err)
	}
	f, err := s.format()
	if err != nil {
		return t, fmt.Errorf("%s: %w", state, err)
	}
	part := func(end string, want ...string) []byte {
		x, ok := m.Tensors[path+end]
		if err == nil && !ok {
			err = fmt.Errorf("%s is missing", path+end)
		} else if err == nil && want != nil && !slices.Contains(want, x.TypeName()) {
			err = fmt.Errorf("%s is of type %s, want %s", path+end, x.TypeName(), want[0])
		}
		return x.raw()
	}
	q := tensor.Stored{Format: f, Shape: s.Shape, Data: part("")} // whatever type its bytes are stored as: quant_storage
	q.Scales.Map = part(".quant_map", "F32")
	if f.Nested == 0 {
		q.Scales.Absmax = part(".absmax", "F32")
	} else {
		q.Scales.Absmax, q.Scales.NestedMap = part(".absmax", "U8"), part(".nested_quant_map", "F32")
		q.Scales.NestedAbsmax, q.Scales.Offset = part(".nested_absmax", "F32"), float32(*s.Offset)
	}
	if err == nil {
		err = q.Check()
	}
	return Tensor{Name: path, DType: f.Type, Shape: s.Shape, File: t.File, data: q.Data, codes: &q, mapped: t.mapped}, err
}

// format is what the state says of the matrix.
func (s nf4State) format() (f tensor.Format, err error) {
	types := map[string]tensor.DType{"float32": tensor.F32, "bfloat16": tensor.BF16, "float16": tensor.F16}
	d, known := types[strings.TrimPrefix(s.Type, "torch.")]
	f = tensor.Format{Type: d, Code: tensor.NF4, Block: s.Block, Nested: s.Nested}
	switch {
	case s.Kind != "nf4":
		err = fmt.Errorf("quant_type: %.100q, want nf4", s.Kind)
	case !known:
		err = fmt.Errorf("dtype: %.100q, want float32, bfloat16 or float16", s.Type)
	case s.Block < 1 || s.Block > maxBlock:
		err = fmt.Errorf("blocksize: %d", s.Block)
	case len(s.Shape) != 2 || s.Shape[0] < 1 || s.Shape[1] < 1:
		err = fmt.Errorf("shape: %v, want two lengths", s.Shape)
	case s.Nested < 0 || s.Nested > maxBlock:
		err = fmt.Errorf("nested_blocksize: %d", s.Nested)
	case s.Nested > 0 && s.Factor != "float32":
		err = fmt.Errorf("nested_dtype: %.100q, want float32", s.Factor)
	case s.Nested > 0 && (s.Offset == nil || math.Abs(*s.Offset) > math.MaxFloat32):
		err = fmt.Errorf("nested_offset is missing or too large")
	}
	return f, err
}

// raw are the bytes of a tensor of any type, where they lie one after the other; nil elsewhere.
func (t Tensor) raw() []byte {
	if t.view != nil {
		return nil
	}
	return t.data
}

// Format is how config.json says that a weight is stored. The weights themselves have the last word.
func (c *Config) Format(name string) tensor.Format {
	f := tensor.Dense(c.DType)
	q, _ := c.Raw["quantization_config"].(map[string]any)
	module := strings.TrimSuffix(name, ".weight")
	parts := strings.Split(module, ".")
	if q["load_in_4bit"] != true || !strings.HasPrefix(name, c.Arch.Layers) || !slices.Contains(c.Targets(false),
		parts[len(parts)-1]) {
		return f
	}
	skipped, _ := q["llm_int8_skip_modules"].([]any)
	for _, s := range skipped {
		if name, _ := s.(string); name == module || slices.Contains(parts, name) {
			return f
		}
	}
	f.Code, f.Block = tensor.NF4, 64
	if q["bnb_4bit_use_double_quant"] == true {
		f.Nested = 256
	}
	return f
}

// Quantised reports whether any of the weights is stored in fewer bits.
func (m *Model) Quantised() bool {
	for _, t := range m.Tensors {
		if t.codes != nil {
			return true
		}
	}
	return false
}
