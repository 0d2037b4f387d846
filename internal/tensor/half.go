package tensor

import (
	"encoding/binary"
	"math"
	"sync"
	"unsafe"
)

// Widen converts stored floats, BF16, F16 or F32, to float32, as many as dst has.
func Widen(dst []float32, src []byte, d DType) {
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = BF16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = F16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	default:
		panic("tensor: widening " + d.String())
	}
}

// Narrow writes src, float elements of type d, as BF16; dst has two bytes for each. Both are aligned as their elements.
func Narrow(dst, src []byte, d DType) {
	to := unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst)/2)
	switch d {
	case BF16:
		copy(dst, src)
	case F16:
		table := halves()
		for i, v := range unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(src))), len(to)) {
			to[i] = table[v]
		}
	case F32:
		for i, v := range unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(src))), len(to)) {
			to[i] = F32ToBF16(v)
		}
	default:
		panic("tensor: narrowing " + d.String())
	}
}

// halves gives the bfloat16 of every IEEE half; a table is several times as quick as computing each.
var halves = sync.OnceValue(func() *[1 << 16]uint16 {
	t := new([1 << 16]uint16)
	for i := range t {
		t[i] = F32ToBF16(F16ToF32(uint16(i)))
	}
	return t
})

// Store puts floats down as elements of a type, BF16, F16 or F32, each rounded to the nearest.
func Store(dst []byte, src []float32, d DType) {
	switch d {
	case F32:
		for i, x := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(x))
		}
	case BF16:
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(x))
		}
	case F16:
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(x))
		}
	default:
		panic("tensor: storing as " + d.String())
	}
}

// BF16ToF32 widens a bfloat16; the conversion is exact.
func BF16ToF32(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }

// F32ToBF16 rounds to the nearest bfloat16, ties to even; a NaN stays a (quiet) NaN.
func F32ToBF16(f float32) uint16 {
	u := math.Float32bits(f)
	if u&0x7fffffff > 0x7f800000 {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + (u>>16)&1) >> 16)
}

// F16ToF32 widens an IEEE half; the conversion is exact.
func F16ToF32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	man := uint32(h & 0x3ff)
	switch exp {
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | man<<13)
	case 0: // zero or subnormal: man · 2^-24
		f := float32(man) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

// F32ToF16 rounds to the nearest IEEE half, ties to even; what is too large becomes an infinity.
func F32ToF16(f float32) uint16 {
	u := math.Float32bits(f)
	sign := uint16(u >> 16 & 0x8000)
	u &= 0x7fffffff
	switch {
	case u > 0x7f800000:
		return sign | 0x7e00
	case u >= 0x477ff000: // 65520 and above round to infinity
		return sign | 0x7c00
	case u < 0x38800000: // below 2^-14: a subnormal half, steps of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(u))*(1<<24)))
	}
	u += 0xfff + u>>13&1
	return sign | uint16((u-0x38000000)>>13)
}
