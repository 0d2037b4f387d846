package tensor

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// layout is a 16-bit float by its definition (IEEE 754-2019, sec. 3.4): a sign, exponent bits, fraction bits.
type layout struct {
	name     string
	fraction int
	bias     int
	widen    func(uint16) float32
	narrow   func(float32) uint16
}

var layouts = []layout{
	{"BF16", 7, 127, BF16ToF32, F32ToBF16},
	{"F16", 10, 15, F16ToF32, F32ToF16},
}

// fields divides a pattern.
func (y layout) fields(u uint16) (negative bool, exponent, fraction, top int) {
	width := 15 - y.fraction
	return u>>15 == 1, int(u>>y.fraction) & (1<<width - 1), int(u) & (1<<y.fraction - 1), 1<<width - 1
}

// value is what a finite pattern without its sign stands for, in units of 2^-149, which every float32 is a multiple of.
// A pattern of the top exponent is taken for finite: the one of fraction 0 is then what would come after the largest.
func (y layout) value(u uint16) *big.Int {
	_, e, f, _ := y.fields(u)
	if e > 0 {
		f |= 1 << y.fraction
	}
	return new(big.Int).Lsh(big.NewInt(int64(f)), uint(max(e, 1)-y.bias-y.fraction+149))
}

// units is a finite float32 without its sign in units of 2^-149.
func units(f float32) *big.Int {
	u := math.Float32bits(f) & 0x7fffffff
	e, m := u>>23, int64(u&(1<<23-1))
	if e > 0 {
		m |= 1 << 23
	}
	return new(big.Int).Lsh(big.NewInt(m), uint(max(e, 1)-1))
}

// Every pattern widens to its value, an infinity or a NaN of its sign.
func TestWidenEveryPattern(t *testing.T) {
	for _, y := range layouts {
		for i := range 1 << 16 {
			u := uint16(i)
			got := y.widen(u)
			negative, e, f, top := y.fields(u)
			if math.Signbit(float64(got)) != negative {
				t.Fatalf("%s %#04x: the sign of %v", y.name, u, got)
			}
			switch nan := got != got; {
			case e == top && f != 0:
				if !nan {
					t.Fatalf("%s %#04x: a NaN became %v", y.name, u, got)
				}
			case e == top:
				if !math.IsInf(float64(got), 0) {
					t.Fatalf("%s %#04x: an infinity became %v", y.name, u, got)
				}
			case nan || math.IsInf(float64(got), 0) || units(got).Cmp(y.value(u&0x7fff)) != 0:
				t.Fatalf("%s %#04x: became %v, %v · 2^-149", y.name, u, got, y.value(u&0x7fff))
			}
		}
	}
}

// nearest is the pattern whose value is nearest to f, of two the even one; values are those of all patterns up to the
// infinity, which stands for the next power of two.
func (y layout) nearest(values []*big.Int, f float32) uint16 {
	x := units(f)
	i := sort.Search(len(values), func(i int) bool { return values[i].Cmp(x) >= 0 })
	switch {
	case i == len(values):
		i--
	case values[i].Cmp(x) > 0: // between i-1 and i
		up, down := new(big.Int).Sub(values[i], x), new(big.Int).Sub(x, values[i-1])
		if c := down.Cmp(up); c < 0 || c == 0 && i%2 == 1 {
			i--
		}
	}
	return uint16(i)
}

// A float32 narrows to the nearest value, ties to even, beyond half a step above the largest to an infinity, and a NaN to
// a quiet NaN: each pattern and the middles between two with their neighbours, and a million float32 of every size.
func TestNarrowIsNearest(t *testing.T) {
	for _, y := range layouts {
		_, _, _, top := y.fields(0)
		infinity := uint16(top) << y.fraction
		var values []*big.Int
		for u := range infinity + 1 {
			values = append(values, y.value(u))
		}
		check := func(f float32) {
			t.Helper()
			got, want := y.narrow(f), infinity
			switch {
			case f != f:
				if got&infinity != infinity || got>>(y.fraction-1)&1 == 0 {
					t.Fatalf("%s: the NaN %#08x became %#04x", y.name, math.Float32bits(f), got)
				}
				return
			case !math.IsInf(float64(f), 0):
				want = y.nearest(values, f)
			}
			if math.Signbit(float64(f)) {
				want |= 1 << 15
			}
			if got != want {
				t.Fatalf("%s: %v (%#08x) became %#04x, want %#04x", y.name, f, math.Float32bits(f), got, want)
			}
		}
		for u := range infinity { // bits of neighbours in float32 differ by one
			a, b := math.Float32bits(y.widen(u)), math.Float32bits(float32(math.Inf(1)))
			if u+1 < infinity {
				b = math.Float32bits(y.widen(u + 1))
			}
			for _, at := range []uint32{a, a + (b-a)/2, b} {
				for d := range uint32(3) {
					check(math.Float32frombits((at+d-1)&0x7fffffff | uint32(u)<<31)) // signs alternate
				}
			}
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range 1_000_000 {
			u := r.Uint32()
			if r.IntN(2) == 0 { // a size that halves have too
				u = u&0x807fffff | uint32(127-28+r.IntN(48))<<23
			}
			if r.IntN(4) == 0 { // a tie, or all but one
				u = u>>12<<12 | []uint32{0, 1, 0xfff}[r.IntN(3)]
			}
			check(math.Float32frombits(u))
		}
	}
}

// Widen is the conversion of each element, Store the way back, and they take no other type.
func TestWiden(t *testing.T) {
	for i, d := range []DType{BF16, F16} {
		var src []byte
		for u := range 1000 {
			src = binary.LittleEndian.AppendUint16(src, uint16(u*37))
		}
		dst := make([]float32, 1000)
		Widen(dst, src, d)
		for u, got := range dst {
			if want := layouts[i].widen(uint16(u * 37)); math.Float32bits(got) != math.Float32bits(want) {
				t.Fatalf("%s: element %d is %v, want %v", d, u, got, want)
			}
		}
		again := make([]byte, len(src))
		Store(again, dst, d)
		for u, x := range dst {
			if x == x && !bytes.Equal(again[2*u:2*u+2], src[2*u:2*u+2]) { // NaNs become quiet
				t.Fatalf("%s: the way back gives another element %d", d, u)
			}
		}
	}
	plain, again := []float32{1, -0.3, 1e-40, 3e38}, make([]float32, 4)
	b := make([]byte, 16)
	if Store(b, plain, F32); binary.LittleEndian.Uint32(b[12:]) != math.Float32bits(3e38) {
		t.Errorf("float32 is stored as %v", b)
	}
	if Widen(again, b, F32); !slices.Equal(again, plain) {
		t.Errorf("%v of %v", again, plain)
	}
	defer func() {
		if recover() == nil {
			t.Error("float64 was widened")
		}
	}()
	Widen(make([]float32, 1), make([]byte, 8), F64)
}
