package ckpt

import (
	"bytes"
	"strings"
	"testing"

	"longlora/internal/errs"
	"longlora/internal/model"
	"longlora/internal/quant"
	"longlora/internal/tensor"
	"longlora/internal/testkit"
)

// nf4Model is an open model of one matrix w.
func nf4Model(state string, change func(ts map[string]Tensor)) *Model {
	u8 := func(n int) Tensor {
		return Tensor{foreign: "U8", Shape: tensor.Shape{n}, data: bytes.Repeat([]byte{0x2f}, n), File: "m.safetensors"}
	}
	f32 := func(v ...float32) Tensor {
		t := FromFloats("", tensor.Shape{len(v)}, v)
		t.File = "m.safetensors"
		return t
	}
	table := quant.NF4Table[:]
	s := u8(len(state))
	s.data = []byte(state)
	ts := map[string]Tensor{"w": u8(64), "w.quant_map": f32(table...), "w.absmax": f32(2, 4), "w" + stateMark + "nf4": s}
	if strings.Contains(state, "nested") {
		ts["w.absmax"], ts["w.nested_quant_map"], ts["w.nested_absmax"] = u8(2), f32(make([]float32, 256)...), f32(1)
	}
	if change != nil {
		change(ts)
	}
	return &Model{Tensors: ts}
}

const plainState = `{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [2, 64]}`

// A matrix is put together from its tensors, which are gone then; its values are what the codes stand for.
func TestReadNF4(t *testing.T) {
	nested := strings.Replace(plainState, "}", `, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.5}`, 1)
	bf16 := func(x float32) float32 { return tensor.BF16ToF32(tensor.F32ToBF16(x)) }
	second := quant.NF4Table[2] // codes are 2 and 15
	plain, low := [4]float32{bf16(2 * second), 2, bf16(4 * second), 4}, bf16(second/2)
	for i, c := range []struct {
		state  string
		change func(map[string]Tensor)
		want   [4]float32 // the first two values of both blocks
	}{
		{plainState, nil, plain},
		{nested, nil, [4]float32{low, 0.5, low, 0.5}}, // factors of nothing but the offset
		{plainState, func(ts map[string]Tensor) { // bitsandbytes does not read it
			ts["w.quant_map"] = FromFloats("", tensor.Shape{16}, make([]float32, 16))
		}, plain},
		{plainState, func(ts map[string]Tensor) { // quant_storage float32: the same bytes
			w := ts["w"]
			w.foreign, w.Shape = "", tensor.Shape{16, 1}
			ts["w"] = w
		}, plain},
	} {
		m := nf4Model(c.state, c.change)
		if err := m.readNF4(); err != nil {
			t.Fatal(err)
		}
		w, err := m.Get("w", tensor.Shape{2, 64})
		if err != nil || len(m.Tensors) != 1 || w.DType != tensor.BF16 || !m.Quantised() {
			t.Fatalf("%d tensors, %v %v, %v", len(m.Tensors), w.DType, w.Shape, err)
		}
		if foreign := i == 2; foreign != (len(m.Notes) == 1 && strings.Contains(m.Notes[0], "quant_map of w")) {
			t.Errorf("case %d: notes %q", i, m.Notes)
		}
		v := w.Floats()
		if got := [4]float32{v[0], v[1], v[64], v[65]}; got != c.want {
			t.Errorf("%s: values %v, want %v", c.state, got, c.want)
		}
		half := make([]float32, 3)
		tensor.Widen(half, w.Bytes(63, 66), tensor.BF16)
		if half[0] != v[63] || half[1] != v[64] || half[2] != v[65] {
			t.Errorf("%s: elements 63 to 65 as bytes are %v, want %v", c.state, half, v[63:66])
		}
		again := make([]float32, len(v))
		if quant.Decode(again, w.Stored(), 0); testkit.Relative(again, v) != 0 {
			t.Errorf("%s: what is stored decodes to %v", c.state, again[:3])
		}
	}
}

// Without weights config.json says which matrices are codes: those of layers, but for modules that it leaves out.
func TestNF4Config(t *testing.T) {
	c := &Config{Desc: model.Desc{Arch: &model.Llama, L: 2}, DType: tensor.F16, Raw: map[string]any{"quantization_config": map[string]any{
		"load_in_4bit": true, "bnb_4bit_use_double_quant": true, "llm_int8_skip_modules": []any{"lm_head", "down_proj", "model.layers.1.mlp.up_proj"}}}}
	for name, nf4 := range map[string]bool{"model.embed_tokens.weight": false, "lm_head.weight": false, "model.norm.weight": false,
		"model.layers.0.input_layernorm.weight": false, "model.layers.0.self_attn.q_proj.weight": true, "model.layers.1.mlp.down_proj.weight": false,
		"model.layers.0.mlp.up_proj.weight": true, "model.layers.1.mlp.up_proj.weight": false} {
		want := tensor.Dense(tensor.F16)
		if nf4 {
			want = tensor.Format{Type: tensor.F16, Code: tensor.NF4, Block: 64, Nested: 256}
		}
		if got := c.Format(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What does not fit together is refused with the tensor's name and what is wrong.
func TestReadNF4Refuses(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(plainState, old, new, 1) }
	for want, c := range map[string]struct {
		state  string
		change func(map[string]Tensor)
	}{
		"quant_type: \"fp4\"":            {with("nf4", "fp4"), nil},
		"dtype: \"int8\"":                {with("bfloat16", "int8"), nil},
		"blocksize: 0":                   {with("64,", "0,"), nil},
		"shape: [128]":                   {with("[2, 64]", "[128]"), nil},
		"shape: [2 -64]":                 {with("[2, 64]", "[2, -64]"), nil},
		"nested_dtype: \"\"":             {with("}", `, "nested_blocksize": 256, "nested_offset": 1}`), nil},
		"nested_offset is missing":       {with("}", `, "nested_blocksize": 256, "nested_dtype": "float32"}`), nil},
		"unexpected end":                 {plainState[:20], nil},
		"with parts of":                  {with("[2, 64]", "[2, 66]"), nil},
		"shape [3037000500 3037000500]":  {with("[2, 64]", "[3037000500, 3037000500]"), nil},
		"w.absmax is missing":            {plainState, func(ts map[string]Tensor) { delete(ts, "w.absmax") }},
		"w.quant_map is of type U8":      {plainState, func(ts map[string]Tensor) { ts["w.quant_map"] = ts["w"] }},
		"w is missing":                   {plainState, func(ts map[string]Tensor) { delete(ts, "w") }},
		"quantised by bitsandbytes fp4,": {plainState, func(ts map[string]Tensor) { ts["w"+stateMark+"fp4"] = ts["w"+stateMark+"nf4"] }},
	} {
		err := nf4Model(c.state, c.change).readNF4()
		if errs.Code(err) != 4 || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "m.safetensors: tensor w") {
			t.Errorf("%v, want exit code 4 and %q", err, want)
		}
	}
}

// No state makes the program fall over or a tensor of parts that do not fit.
func FuzzNF4State(f *testing.F) {
	f.Add(plainState, 64)
	f.Add(strings.Replace(plainState, "}", `, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.5}`, 1), 64)
	f.Add(`{"shape": [1e30, 2]}`, 1)
	f.Fuzz(func(t *testing.T, state string, n int) {
		m := nf4Model(state, func(ts map[string]Tensor) {
			w := ts["w"]
			w.data = make([]byte, n&0xfff)
			ts["w"] = w
		})
		if m.readNF4() == nil {
			if w, ok := m.Tensors["w"]; ok && w.codes != nil {
				w.Floats()
			}
		}
	})
}
