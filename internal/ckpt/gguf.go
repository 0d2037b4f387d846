package ckpt

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"longlora/internal/errs"
	"longlora/internal/files"
	"longlora/internal/tensor"
)

// GGUFType is how a tensor's values are written in a GGUF file.
type GGUFType uint32

// The types that are written, by their numbers in the format.
const (
	GGUFF32  GGUFType = 0
	GGUFF16  GGUFType = 1
	GGUFQ8   GGUFType = 8 // Q8_0: blocks of 32 values in 8 bits, each with a scale in half precision
	GGUFBF16 GGUFType = 30
)

// ggufTypes are the element types of those that have one, and their names.
var ggufTypes = map[GGUFType]struct {
	dtype tensor.DType
	name  string
}{GGUFF32: {tensor.F32, "f32"}, GGUFF16: {tensor.F16, "f16"}, GGUFBF16: {tensor.BF16, "bf16"}, GGUFQ8: {0, "q8_0"}}

// GGUFOf is the type of elements of d (F32, BF16 or F16).
func GGUFOf(d tensor.DType) GGUFType {
	return map[tensor.DType]GGUFType{tensor.F32: GGUFF32, tensor.F16: GGUFF16, tensor.BF16: GGUFBF16}[d]
}

func (g GGUFType) String() string { return ggufTypes[g].name }

// Coding is how values of the type are written.
func (g GGUFType) Coding() Coding {
	if g == GGUFQ8 {
		return q8{}
	}
	return Dense(ggufTypes[g].dtype)
}

// Bytes are what n values take, a whole number of blocks.
func (g GGUFType) Bytes(n int) int {
	if g == GGUFQ8 {
		return n / q8Block * q8Bytes
	}
	return n * ggufTypes[g].dtype.Size()
}

// q8 writes Q8_0: blocks of 32 values x as a scale d in half precision, max|x|/127, then each x/d as a signed byte. The
// quotient is by the scale before it is rounded, and rounded half away from zero, as in ggml.
type q8 struct{}

const q8Block, q8Bytes = 32, 34

func (q8) Append(b []byte, v []float32) []byte {
	for ; len(v) >= q8Block; v = v[q8Block:] {
		most := float32(0)
		for _, x := range v[:q8Block] {
			if a := float32(math.Abs(float64(x))); a > most || a != a {
				most = a // a NaN stays
			}
		}
		d, inverse := most/127, float32(0)
		if d != 0 {
			inverse = 1 / d
		}
		b = binary.LittleEndian.AppendUint16(b, tensor.F32ToF16(d))
		for _, x := range v[:q8Block] {
			b = append(b, byte(int8(math.Round(float64(x*inverse)))))
		}
	}
	return b
}

func (q8) NotFinite(b []byte) int {
	for i := 0; i+q8Bytes <= len(b); i += q8Bytes {
		if NotFinite(b[i:i+2], tensor.F16) == 0 {
			return i / q8Bytes * q8Block
		}
	}
	return -1
}

func (q8) Is(tensor.DType) bool { return false }

// GGUF is a file of llama.cpp's format, version 3: named values, then tensors.
type GGUF struct {
	Values  []GGUFValue
	Tensors []GGUFTensor
}

// GGUFValue is a named value: a string, bool, uint32, float32, or a list of string, int32 or float32.
type GGUFValue struct {
	Key   string
	Value any
}

// GGUFTensor is a tensor, whose extents are written the innermost first, and what writes its bytes.
type GGUFTensor struct {
	Name  string
	Type  GGUFType
	Shape tensor.Shape
	Write func(w io.Writer) error
}

// Add adds a value.
func (g *GGUF) Add(key string, value any) { g.Values = append(g.Values, GGUFValue{key, value}) }

// ggufAlign is what the places of tensors divide by, the format's own where a file does not say it.
const ggufAlign = 32

// CheckGGUF refuses a path at which something else than a GGUF file lies, of kind Usage, and one in a folder that is
// not there.
func CheckGGUF(path string, option errs.Option) error {
	if !files.Exists(path) {
		if dir := filepath.Dir(path); !files.Exists(dir) {
			return errs.Dataf("%s %s: there is no folder %s to write it in; make it first: mkdir -p %[3]s", option, path, dir)
		}
		return nil
	}
	f, err := files.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	magic := make([]byte, len(ggufMagic))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != ggufMagic {
		return errs.Usagef("%s %s: something else than a GGUF file lies there, which is not replaced; give another name",
			option, path)
	}
	return nil
}

// WriteGGUF writes a file, which appears under its name when it is whole.
func WriteGGUF(path string, g *GGUF) error {
	head := []byte(ggufMagic)
	head = binary.LittleEndian.AppendUint32(head, 3)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(g.Tensors)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(g.Values)))
	for _, v := range g.Values {
		head = appendValue(appendString(head, v.Key), v.Value)
	}
	at := int64(0)
	for _, t := range g.Tensors {
		head = binary.LittleEndian.AppendUint32(appendString(head, t.Name), uint32(len(t.Shape)))
		for i := range t.Shape {
			head = binary.LittleEndian.AppendUint64(head, uint64(t.Shape[len(t.Shape)-1-i]))
		}
		head = binary.LittleEndian.AppendUint32(head, uint32(t.Type))
		head = binary.LittleEndian.AppendUint64(head, uint64(at))
		at += padded(int64(t.Type.Bytes(t.Shape.Elems())))
	}
	return files.WriteAtomic(path, func(w io.Writer) error {
		c := &counter{w: w}
		if _, err := c.Write(head); err != nil {
			return err
		}
		if err := pad(c); err != nil {
			return err
		}
		for _, t := range g.Tensors {
			start := c.n
			if err := t.Write(c); err != nil {
				return err
			}
			if want := int64(t.Type.Bytes(t.Shape.Elems())); c.n-start != want {
				return fmt.Errorf("%s: %d bytes of tensor %s were written, not %d", path, c.n-start, t.Name, want)
			}
			if err := pad(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// padded is the next place at which a tensor may begin.
func padded(n int64) int64 { return (n + ggufAlign - 1) / ggufAlign * ggufAlign }

// pad brings a file to the next place at which a tensor may begin.
func pad(c *counter) error {
	_, err := c.Write(make([]byte, padded(c.n)-c.n))
	return err
}

// The numbers of the types of values.
const (
	ggufUint32 = 4
	ggufInt32  = 5
	ggufFloat  = 6
	ggufBool   = 7
	ggufString = 8
	ggufArray  = 9
)

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value's type and the value.
func appendValue(b []byte, v any) []byte {
	kind := func(k uint32) { b = binary.LittleEndian.AppendUint32(b, k) }
	list := func(k uint32, n int) {
		kind(ggufArray)
		kind(k)
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	switch v := v.(type) {
	case string:
		kind(ggufString)
		b = appendString(b, v)
	case bool:
		kind(ggufBool)
		one := byte(0)
		if v {
			one = 1
		}
		b = append(b, one)
	case uint32:
		kind(ggufUint32)
		b = binary.LittleEndian.AppendUint32(b, v)
	case float32:
		kind(ggufFloat)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	case []string:
		list(ggufString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
	case []int32:
		list(ggufInt32, len(v))
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, uint32(x))
		}
	case []float32:
		list(ggufFloat, len(v))
		b = AppendFloats(b, v, tensor.F32)
	default:
		panic(fmt.Sprintf("ckpt: a value of type %T in a GGUF file", v))
	}
	return b
}
