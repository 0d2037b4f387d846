package quant

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"longlora/internal/tensor"
)

// NF4Table are the values that NF4's codes stand for, as bitsandbytes has them: quantiles of the normal distribution,
// brought to [-1, 1]. It computes with these whatever a checkpoint's quant_map says.
var NF4Table = [16]float32{-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
	-0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
	0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1}

func decodeNF4(dst []float32, s tensor.Stored, lo int) {
	var values [16]float32
	block := -1
	for i := range dst {
		e := lo + i
		if b := e / s.Format.Block; b != block {
			block = b
			blockValues(&values, s, b)
		}
		c := s.Data[e/2]
		if e%2 == 0 {
			c >>= 4
		}
		dst[i] = values[c&15]
	}
}

// blockValues are the 16 values that elements of block b may have.
func blockValues(values *[16]float32, s tensor.Stored, b int) {
	f := factor(s, b)
	for c := range values {
		values[c] = round(float32(float(s.Scales.Map, c)*f), s.Format.Type)
	}
}

// factor is that of block b.
func factor(s tensor.Stored, b int) float32 {
	if s.Format.Nested == 0 {
		return float(s.Scales.Absmax, b)
	}
	// the conversion keeps product and sum from being fused
	return float32(float(s.Scales.NestedMap, int(s.Scales.Absmax[b]))*float(s.Scales.NestedAbsmax, b/s.Format.Nested)) +
		s.Scales.Offset
}

func float(b []byte, i int) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])) }

func putFloat(b []byte, i int, x float32) {
	binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
}

// encodeNF4 takes of each element, divided by its block's largest magnitude, the nearest value of the table, of two
// equally near ones the lower. Divided means multiplied by the reciprocal, in float32, but in a last block that is not
// full, as bitsandbytes' CPU kernel does it.
func encodeNF4(s *tensor.Stored, v Values) bool {
	n, block := s.Shape.Elems(), s.Format.Block
	for c, x := range NF4Table {
		putFloat(s.Scales.Map, c, x)
	}
	factors := make([]float32, (n+block-1)/block)
	inParts(n, block*(1+block%2), v, func(part []float32, lo int) { // an even number: a byte has two
		for i := 0; i < len(part); i += block {
			b := part[i:min(i+block, len(part))]
			factors[(lo+i)/block] = scaleBlock(b, block)
		}
		encodeParts(s.Data[lo/2:], part)
	})
	if slices.ContainsFunc(factors, func(f float32) bool { return !(f <= math.MaxFloat32) }) {
		return false
	}
	if s.Format.Nested > 0 {
		nest(s, factors)
		return true
	}
	for i, f := range factors {
		putFloat(s.Scales.Absmax, i, f)
	}
	return true
}

// leastFactor stands for a factor of nothing where bitsandbytes divides by it.
const leastFactor = 1e-38

// scaleBlock brings a block to [-1, 1] and returns its factor. One with NaN or an infinity has such a factor.
func scaleBlock(b []float32, block int) float32 {
	most := largest(b)
	if !(most <= math.MaxFloat32) {
		clear(b)
		return most
	}
	if len(b) < block {
		most = max(most, leastFactor)
		for i, x := range b {
			b[i] = min(max(x/most, -1), 1)
		}
		return most
	}
	r := 1 / max(most, leastFactor)
	for i, x := range b {
		b[i] = min(max(float32(x*r), -1), 1)
	}
	return most
}

func largest(b []float32) float32 {
	most := float32(0)
	for _, x := range b {
		most = max(most, abs(x))
	}
	return most
}

// cells divide [-1, 1] so finely that there is at most one bound in each.
const cells = 256

// search finds a value's place among the middles between the table's values: below the first of them the code is 0.
var search = sync.OnceValue(func() *nf4Search {
	t := &nf4Search{}
	for c := range t.bounds[:15] {
		t.bounds[c] = (NF4Table[c] + NF4Table[c+1]) / 2
	}
	t.bounds[15] = math.MaxFloat32
	for i := range t.first {
		least := float32(i-1)*2/cells - 1 // with a cell to spare for what rounding does
		for t.bounds[t.first[i]] < least {
			t.first[i]++
		}
	}
	return t
})

type nf4Search struct {
	bounds [16]float32
	first  [cells + 1]uint8 // by cell the lowest code that a value in it has
}

func (t *nf4Search) code(x float32) uint8 {
	c := t.first[int((x+1)*(cells/2))]
	for x > t.bounds[c&15] {
		c++
	}
	return c
}

// encodeParts packs the codes of values in [-1, 1]; the last of an odd number is followed by the code of 0.
func encodeParts(dst []byte, v []float32) {
	t := search()
	for i := 0; i+1 < len(v); i += 2 {
		dst[i/2] = t.code(v[i])<<4 | t.code(v[i+1])
	}
	if n := len(v); n%2 == 1 {
		dst[n/2] = t.code(v[n-1])<<4 | t.code(0)
	}
}

// nest stores factors as codes of 8 bits, after their mean is taken off: by blocks, as bitsandbytes' CPU kernel does.
func nest(s *tensor.Stored, factors []float32) {
	m := nestedMap()
	for c, x := range m.values {
		putFloat(s.Scales.NestedMap, c, x)
	}
	s.Scales.Offset = mean(factors)
	for i := range factors {
		factors[i] -= s.Scales.Offset
	}
	for lo := 0; lo < len(factors); lo += s.Format.Nested {
		b := factors[lo:min(lo+s.Format.Nested, len(factors))]
		most := largest(b)
		putFloat(s.Scales.NestedAbsmax, lo/s.Format.Nested, most)
		if most == 0 {
			clear(s.Scales.Absmax[lo : lo+len(b)])
			continue
		}
		r := 1 / most
		for i, x := range b {
			s.Scales.Absmax[lo+i] = m.code(min(max(float32(x*r), -1), 1))
		}
	}
}

// dynamic is bitsandbytes' dynamic map of 8 bits (8-bit Approximations for Parallelism in Deep Learning, arXiv
// 1511.04561): by decades 1, 2, … 64 values, the middles of equal parts of [0.1, 1], and their negatives, with 0 and 1.
// Its kernel looks the nearest value up in a table over steps of [-1, 1].
type dynamic struct {
	values [256]float32
	near   [1 << 16]uint8
}

var nestedMap = sync.OnceValue(func() *dynamic {
	m := &dynamic{}
	list := []float32{0, 1}
	for i := range 7 {
		n := 1 << i
		bounds := linspace(0.1, 1, n+1)
		for k := range n {
			x := float32((bounds[k] + bounds[k+1]) / 2)
			x = float32(float32(math.Pow10(i-6)) * x)
			list = append(list, x, -x)
		}
	}
	slices.Sort(list)
	copy(m.values[:], list)
	c := 0
	for i := range m.near {
		x := -1 + float32(2*float32(i))/(1<<16-1)
		for c < 255 && 0.5*float32(m.values[c]+m.values[c+1]) < x {
			c++
		}
		m.near[i] = uint8(c)
	}
	return m
})

// code is that of a value in [-1, 1].
func (m *dynamic) code(x float32) uint8 {
	half := float32(float32(x+1) * 0.5)
	return m.near[uint16(float32(float64(half)*(1<<16-1)+0.5))] // product and sum rounded once
}

// linspace are n values from lo to hi, as PyTorch computes them: from either end up to the middle, product and sum
// rounded once.
func linspace(lo, hi float32, n int) []float32 {
	step := float32(hi-lo) / float32(n-1)
	v := make([]float32, n)
	for i := range v {
		if i < n/2 {
			v[i] = float32(float64(lo) + float64(step)*float64(i))
		} else {
			v[i] = float32(float64(hi) - float64(step)*float64(n-1-i))
		}
	}
	return v
}
