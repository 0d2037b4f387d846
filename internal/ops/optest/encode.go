package optest

import (
	"encoding/binary"
	"math"

	"longlora/internal/tensor"
)

// stored is a value as an element of type d holds it.
func stored(d tensor.DType, x float64) float64 {
	switch d {
	case tensor.F32:
		return float64(float32(x))
	case tensor.BF16:
		return float64(tensor.BF16ToF32(tensor.F32ToBF16(float32(x))))
	case tensor.F16:
		return float64(tensor.F16ToF32(tensor.F32ToF16(float32(x))))
	}
	return x
}

// encode gives values as the bytes of elements of type d.
func encode(d tensor.DType, v []float64) []byte {
	var b []byte
	for _, x := range v {
		switch d {
		case tensor.F32:
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(x)))
		case tensor.BF16:
			b = binary.LittleEndian.AppendUint16(b, tensor.F32ToBF16(float32(x)))
		case tensor.F16:
			b = binary.LittleEndian.AppendUint16(b, tensor.F32ToF16(float32(x)))
		case tensor.F64:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(x))
		case tensor.I32:
			b = binary.LittleEndian.AppendUint32(b, uint32(int32(x)))
		default:
			panic("optest: values of type " + d.String())
		}
	}
	return b
}

// decode is the inverse of encode.
func decode(d tensor.DType, b []byte) []float64 {
	v := make([]float64, len(b)/d.Size())
	for i := range v {
		switch d {
		case tensor.F32:
			v[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		case tensor.BF16:
			v[i] = float64(tensor.BF16ToF32(binary.LittleEndian.Uint16(b[2*i:])))
		case tensor.F16:
			v[i] = float64(tensor.F16ToF32(binary.LittleEndian.Uint16(b[2*i:])))
		case tensor.F64:
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		case tensor.I32:
			v[i] = float64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		default:
			panic("optest: values of type " + d.String())
		}
	}
	return v
}
