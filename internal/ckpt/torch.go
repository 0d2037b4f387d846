package ckpt

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/nlpodyssey/gopickle/pytorch"
	"github.com/nlpodyssey/gopickle/types"

	"longlora/internal/errs"
	"longlora/internal/tensor"
)

// ReadTorch reads a dictionary of tensors that torch.save wrote. Nothing in the pickle is executed: what is no
// tensor, storage or container is refused. 16-bit floats keep their type.
func ReadTorch(path string) (ts map[string]Tensor, err error) {
	defer func() { // the unpickler indexes what it reads
		if r := recover(); r != nil {
			ts, err = nil, errs.Dataf("%s: not a sound PyTorch file: %v", path, r)
		}
	}()
	v, err := pytorch.Load(path)
	if err != nil {
		return nil, errs.Dataf("%s: not a PyTorch file of plain tensors: %w; convert the checkpoint to safetensors", path, err)
	}
	ts = map[string]Tensor{}
	add := func(k, v any) error {
		name, ok := k.(string)
		t, isTensor := v.(*pytorch.Tensor)
		if !ok || !isTensor {
			return errs.Dataf("%s: entry %v is a %T, not a named tensor", path, k, v)
		}
		c, err := fromTorch(name, t)
		c.File = path
		ts[name] = c
		if err != nil {
			return errs.Dataf("%s: tensor %s: %w", path, name, err)
		}
		return nil
	}
	switch d := v.(type) {
	case *types.Dict:
		for _, e := range *d {
			if err := add(e.Key, e.Value); err != nil {
				return nil, err
			}
		}
	case *types.OrderedDict:
		for e := d.List.Front(); e != nil; e = e.Next() {
			x := e.Value.(*types.OrderedDictEntry)
			if err := add(x.Key, x.Value); err != nil {
				return nil, err
			}
		}
	default:
		return nil, errs.Dataf("%s: holds a %T, not a dictionary of tensors", path, v)
	}
	return ts, nil
}

// fromTorch gathers a tensor's elements through its strides.
func fromTorch(name string, t *pytorch.Tensor) (Tensor, error) {
	out := Tensor{Name: name, Shape: append(tensor.Shape{}, t.Size...)}
	var src []float32
	switch s := t.Source.(type) {
	case *pytorch.FloatStorage:
		src = s.Data
	case *pytorch.HalfStorage:
		src, out.DType = s.Data, tensor.F16
	case *pytorch.BFloat16Storage:
		src, out.DType = s.Data, tensor.BF16
	default:
		return out, fmt.Errorf("elements of %T are not supported", s)
	}
	bytes, ok := out.Shape.Bytes(out.DType)
	if !ok || len(t.Stride) != len(t.Size) {
		return out, fmt.Errorf("shape %v with strides %v", t.Size, t.Stride)
	}
	last := t.StorageOffset
	for i, d := range t.Size {
		if t.Stride[i] < 0 || d > 0 && t.Stride[i] > math.MaxInt32 {
			return out, fmt.Errorf("stride %d", t.Stride[i])
		}
		last += max(0, d-1) * t.Stride[i]
	}
	if t.StorageOffset < 0 || out.Shape.Elems() > 0 && last >= len(src) {
		return out, fmt.Errorf("shape %v passes the end of its storage of %d", t.Size, len(src))
	}
	out.Data = make([]byte, bytes)
	i := 0
	var walk func(axis, at int)
	walk = func(axis, at int) {
		if axis == len(t.Size) {
			putFloat(out.Data, i, out.DType, src[at])
			i++
			return
		}
		for k := range t.Size[axis] {
			walk(axis+1, at+k*t.Stride[axis])
		}
	}
	walk(0, t.StorageOffset)
	return out, nil
}

// putFloat writes element i of a vector of type d.
func putFloat(b []byte, i int, d tensor.DType, v float32) {
	switch d {
	case tensor.F32:
		*(*float32)(unsafe.Pointer(&b[4*i])) = v
	case tensor.BF16:
		*(*uint16)(unsafe.Pointer(&b[2*i])) = tensor.F32ToBF16(v)
	case tensor.F16:
		*(*uint16)(unsafe.Pointer(&b[2*i])) = tensor.F32ToF16(v)
	}
}

// Floats are a tensor's values as float32, a copy.
func (t Tensor) Floats() []float32 {
	out := make([]float32, t.Shape.Elems())
	t.floats(out, 0)
	return out
}

// floats fills out with the values from element lo on.
func (t Tensor) floats(out []float32, lo int) {
	for i := range out {
		switch t.DType {
		case tensor.F32:
			out[i] = math.Float32frombits(uint32(t.Data[4*(lo+i)]) | uint32(t.Data[4*(lo+i)+1])<<8 | uint32(t.Data[4*(lo+i)+2])<<16 | uint32(t.Data[4*(lo+i)+3])<<24)
		case tensor.BF16:
			out[i] = tensor.BF16ToF32(uint16(t.Data[2*(lo+i)]) | uint16(t.Data[2*(lo+i)+1])<<8)
		case tensor.F16:
			out[i] = tensor.F16ToF32(uint16(t.Data[2*(lo+i)]) | uint16(t.Data[2*(lo+i)+1])<<8)
		}
	}
}

// FromFloats makes a float32 tensor over v's memory.
func FromFloats(name string, shape tensor.Shape, v []float32) Tensor {
	return Tensor{Name: name, DType: tensor.F32, Shape: shape, Data: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v))}
}

// Out makes the tensor ready to be written as it is.
func (t Tensor) Out() Out { return Bytes(t.Name, t.DType, t.Shape, t.Data) }

// NotFinite is the index of the first NaN or infinity, -1 when there is none.
func (t Tensor) NotFinite() int {
	mask, size := uint32(0x7f800000), 4
	switch t.DType {
	case tensor.BF16:
		mask, size = 0x7f80, 2
	case tensor.F16:
		mask, size = 0x7c00, 2
	}
	for i := 0; i+size <= len(t.Data); i += size {
		u := uint32(t.Data[i]) | uint32(t.Data[i+1])<<8
		if size == 4 {
			u |= uint32(t.Data[i+2])<<16 | uint32(t.Data[i+3])<<24
		}
		if u&mask == mask {
			return i / size
		}
	}
	return -1
}

// As is a float32 tensor's bytes rounded to type d.
func (t Tensor) As(d tensor.DType) []byte {
	if t.DType == d {
		return t.Data
	}
	out := make([]byte, t.Shape.Elems()*d.Size())
	for i, v := range t.Floats() {
		putFloat(out, i, d, v)
	}
	return out
}

// Range fills out with the values from element lo on.
func (t Tensor) Range(out []float32, lo int) { t.floats(out, lo) }
